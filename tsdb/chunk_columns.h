/* chunk_columns.h - names of the codecs in a sealed float chunk, for its writer and reader; the layout is in chunk_encode.c. */
#pragma once
#include "tsdb/chunk_format.h"

enum time_codec { TIME_REGULAR, TIME_INTS };
enum value_codec { VALUE_CONSTANT, VALUE_DECIMAL, VALUE_BITS, VALUE_ADAPTIVE, VALUE_XOR };
enum start_codec { START_NONE, START_CONSTANT, START_PREVIOUS, START_INTS };
enum { DECIMAL_HAS_SPECIALS = 0x80 };
