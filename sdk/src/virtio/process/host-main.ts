// The program of a device process. Started by the runtime and of no use without it.

import { loadDevice } from './device-module.ts';
import { runDeviceHost } from './host-program.ts';

runDeviceHost(loadDevice);
