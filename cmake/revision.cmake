# Run by the build: writes the commit that is being built into a header.
execute_process(COMMAND ${GIT} -C ${SOURCE} describe --always --dirty --abbrev=12
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT revision)
  set(revision unknown)
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT "#define TORC_REVISION \"@revision@\"\n" @ONLY)
