// What a device process does from its start on.

import module from 'node:module';
import { beginLockdown } from '../../linux/lockdown.ts';
import { type CompiledDevice, DeviceHost, type DeviceLoader } from './device-host.ts';
import { trimMemory } from './trim-memory.ts';

/** The listening socket of the control channel. */
const LISTENER = 3;
/**
 * From the start, and from the arrival of the device, to when what only that needed is given back, in ms. A guest that boots
 * meanwhile is not disturbed.
 */
const SETTLED_MS = 2_200;

/** A process with it only leaves its compiled code to those that come later. */
export const WARM_VARIABLE = 'RUNTIME_DEVICE_WARM';

/** @param compiled the device that is compiled into the program, if one is */
export function runDeviceHost(load: DeviceLoader, compiled?: CompiledDevice): void {
  // At its end Node keeps the compiled code. One that serves a device may be in a jail, where it cannot.
  if (process.env[WARM_VARIABLE] !== undefined) return;
  beginLockdown();
  const settled = setTimeout(() => {
    // At exit Node would do it, but most device processes end by a signal.
    module.flushCompileCache();
    trimMemory();
  }, SETTLED_MS).unref();
  new DeviceHost(LISTENER, {
    load,
    ...(compiled === undefined ? {} : { compiled }),
    loaded: () => settled.refresh(),
    exit: (code) => process.exit(code),
  });
}
