// Clients of the D-Bus in Python, for tests.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { protoText } from '@runtime/sdk/protobuf';
import { conciergeTable } from '../wire/concierge.ts';

export const PYTHON = '/usr/bin/python3';

/** Of Debian: python3-dbus, python3-gi, python3-protobuf and protobuf-compiler. */
export function hasPython(): boolean {
  const imports = 'import dbus, dbus.mainloop.glib, gi.repository.GLib, google.protobuf';
  const has = (command: string, ...args: string[]) => spawnSync(command, args, { stdio: 'ignore' }).status === 0;
  return has('protoc', '--version') && has(PYTHON, '-c', imports);
}

/** The tables as programs in other languages want them. */
export function writeProtos(folder: string): void {
  const { messages, enums } = conciergeTable;
  const only = (prefix: string) => {
    const pick = <T>(all: Readonly<Record<string, T>>): Record<string, T> =>
      Object.fromEntries(Object.entries(all).filter(([name]) => name.startsWith(prefix)));
    return { messages: pick(messages), enums: pick(enums), services: {} } as never;
  };
  writeFileSync(join(folder, 'arc.proto'), protoText('arc', only('arc.')));
  writeFileSync(
    join(folder, 'concierge.proto'),
    protoText('vm_tools.concierge', only('vm_tools.concierge.'), ['arc.proto']),
  );
}
