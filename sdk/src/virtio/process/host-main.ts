// The program of a device process. Started by the runtime and of no use without it.

import module from 'node:module';
import { DeviceHost } from './device-host.ts';
import { trimMemory } from './trim-memory.ts';

/** The listening socket of the control channel. */
const LISTENER = 3;
/** From start to when what only the start needed is given back, in ms. */
const SETTLED_MS = 1_500;

new DeviceHost(LISTENER, (code) => process.exit(code));

setTimeout(() => {
  // At exit Node would do it, but most device processes end by a signal.
  module.flushCompileCache();
  trimMemory();
}, SETTLED_MS).unref();
