// The messages of ChromeOS' virtual machines.

import { Protobuf } from '@runtime/sdk/protobuf';
import { ciceroneTable } from './cicerone.ts';
import { conciergeTable } from './concierge.ts';
import { containerGuestTable } from './container-guest.ts';
import { containerHostTable } from './container-host.ts';
import { tremplinTable } from './tremplin.ts';
import { vmCrashTable } from './vm-crash.ts';
import { vmGuestTable } from './vm-guest.ts';
import { vmHostTable } from './vm-host.ts';
import { vshTable } from './vsh.ts';

/** Between a guest and its host: maitred, the listeners of the host, and vsh. */
interface GuestTable {
  readonly messages: typeof vmGuestTable.messages &
    typeof vmHostTable.messages &
    typeof vmCrashTable.messages &
    typeof vshTable.messages;
  readonly enums: typeof vmGuestTable.enums & typeof vmHostTable.enums & typeof vshTable.enums;
  readonly services: typeof vmGuestTable.services & typeof vmHostTable.services & typeof vmCrashTable.services;
}

export const guestWire: Protobuf<GuestTable> = /* @__PURE__ */ new Protobuf({
  messages: { ...vmGuestTable.messages, ...vmHostTable.messages, ...vmCrashTable.messages, ...vshTable.messages },
  enums: { ...vmGuestTable.enums, ...vmHostTable.enums, ...vshTable.enums },
  services: { ...vmGuestTable.services, ...vmHostTable.services, ...vmCrashTable.services },
});

/** Between the host and what looks after containers in a VM, and runs in them. */
interface ContainersTable {
  readonly messages: { readonly 'vm_tools.EmptyMessage': Record<never, never> } & typeof tremplinTable.messages &
    typeof containerHostTable.messages &
    typeof containerGuestTable.messages;
  readonly enums: typeof tremplinTable.enums & typeof containerHostTable.enums & typeof containerGuestTable.enums;
  readonly services: typeof tremplinTable.services &
    typeof containerHostTable.services &
    typeof containerGuestTable.services;
}

export const containersWire: Protobuf<ContainersTable> = /* @__PURE__ */ new Protobuf({
  messages: {
    'vm_tools.EmptyMessage': {},
    ...{ ...tremplinTable.messages, ...containerHostTable.messages, ...containerGuestTable.messages },
  },
  enums: { ...tremplinTable.enums, ...containerHostTable.enums, ...containerGuestTable.enums },
  services: { ...tremplinTable.services, ...containerHostTable.services, ...containerGuestTable.services },
});

/** On the D-Bus. It has no effect but this: guests leave it out. */
export const conciergeWire: Protobuf<typeof conciergeTable> = /* @__PURE__ */ new Protobuf(conciergeTable);

export const ciceroneWire: Protobuf<typeof ciceroneTable> = /* @__PURE__ */ new Protobuf(ciceroneTable);
