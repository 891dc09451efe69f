// Between a host and a guest that goes on from a snapshot: our own, as ChromeOS has none.

import type { ProtoTable } from '@runtime/sdk/protobuf';

/** Of the kernel command line: come as far as is possible without a host, say so, and wait. */
export const TEMPLATE_PARAMETER = 'maitred.template';
/** What such a guest writes on its console when it can be saved. */
export const TEMPLATE_READY = 'runtime: this guest can be saved';

export const templateTable = {
  messages: {
    'runtime.WakeRequest': {
      /** 32 bytes at least, which no other VM gets. */
      seed: [1, 'bytes'],
      /** Since 1970. */
      seconds: [2, 'int64'],
      nanos: [3, 'int32'],
    },
    'runtime.WakeResponse': {},
  },
  enums: {},
  services: { 'runtime.Template': { Wake: ['runtime.WakeRequest', 'runtime.WakeResponse'] } },
} as const satisfies ProtoTable;
