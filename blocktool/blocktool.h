/* blocktool.h - `torc blocks`: looks into the blocks of a bucket, checks them, brings data in and out. It works on the bucket alone, beside a running cluster or
 * without one: what it reads no compactor changes, and what it publishes goes through the indexes like any other block. */
#pragma once

/* argv without "torc blocks". 0; 1: what was looked for is wrong (a damaged block, a difference); 2: it could not run. */
int blocktool_main(int argc, char **argv);
