// @ts-check
// Starts a device process whose host and device were compiled into one file; from the modules when that file is gone.
// Arguments: an id for people, that file, the program for the other case. CommonJS, since its loader takes less memory.
'use strict';

const { existsSync } = require('node:fs');

const [, , , compiled = '', program = ''] = process.argv;
if (existsSync(compiled)) require(compiled);
else import(program);
