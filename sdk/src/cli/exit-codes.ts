// Exit codes that no error names. Those of errors are in the error tables.

/** 128 and the number of SIGINT, as shells report it. */
export const EXIT_INTERRUPTED = 130;
