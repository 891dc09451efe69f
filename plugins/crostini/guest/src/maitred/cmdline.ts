// What the kernel command line tells maitred: parameters called "maitred.…".

import { TEMPLATE_PARAMETER } from '../../../src/wire/template.ts';

export interface KernelParameters {
  readonly listenPort: number;
  readonly startupProcesses: boolean;
  readonly provisionStateful: boolean;
  /** Others go on from this guest. */
  readonly template: boolean;
}

export const MAITRED_PORT = 8888;

/** @param text of /proc/cmdline */
export function parseKernelParameters(text: string): KernelParameters {
  const words = text.trim().split(/\s+/);
  const port = Number(words.find((word) => word.startsWith('maitred.listen_port='))?.split('=')[1]);
  return {
    listenPort: Number.isInteger(port) && port > 0 && port < 0xffff_ffff ? port : MAITRED_PORT,
    startupProcesses: !words.includes('maitred.no_startup_processes'),
    provisionStateful: words.includes('maitred.provision_stateful'),
    template: words.includes(TEMPLATE_PARAMETER),
  };
}
