// A Debian container in a VM: made, entered, found by the next runtime, stopped.

import { existsSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { runCommand } from '@runtime/sdk/testing';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bringUpContainer } from '../../plugins/crostini/src/cicerone/bring-up.ts';
import type { CiceroneManager } from '../../plugins/crostini/src/cicerone/cicerone-manager.ts';
import { containers } from '../../plugins/crostini/src/contract-containers.ts';
import { openVsh } from '../../plugins/crostini/src/vsh/client.ts';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const PROGRAMS = { '/usr/bin/mmdebstrap': 'mmdebstrap', '/usr/bin/sqfstar': 'squashfs-tools' } as const;

function lackingForImages(): string | undefined {
  const [program, name] = Object.entries(PROGRAMS).find(([path]) => !existsSync(path)) ?? [];
  return program === undefined ? undefined : `${program} (apt-get install ${name})`;
}

const missing = lacking() ?? lackingForImages();
const MIN = 60_000;
const PENGUIN = { vm: 'c', container: 'penguin' };

describe.skipIf(missing !== undefined)(`Containers${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig();
  // The service is the manager itself, whose shells are not for other plugins yet.
  const cicerone = (): CiceroneManager => rig.runtime.get(containers) as CiceroneManager;

  beforeAll(async () => {
    await rig.open();
    await rig.termina.startVm({ name: 'c', profile: 'full' });
  }, 10 * MIN);
  afterAll(() => rig.close(), MIN);

  const inContainer = async (command: string): Promise<{ readonly out: string; readonly code: number }> => {
    const connection = await cicerone().openShell(PENGUIN);
    using session = await openVsh({ socketPath: 'penguin', connection, target: 'penguin', command });
    session.stdin.end();
    session.stderr.resume();
    const [out, code] = await Promise.all([text(session.stdout), session.exit]);
    return { out: out.trim(), code };
  };

  test(
    'is made of Debian packages, and runs as the user it was made for',
    async () => {
      const stages: string[] = [];
      const onStage = (stage: string): void => void (stages.at(-1) === stage || stages.push(stage));
      const parts = { concierge: rig.termina, cicerone: cicerone() };
      const container = await bringUpContainer(parts, PENGUIN, 'ada', { onStage });
      expect(container).toMatchObject({ name: 'penguin', state: 'running', username: 'ada', homedir: '/home/ada' });
      expect(stages).toEqual(
        expect.arrayContaining(['starting LXD', 'creating container penguin', 'starting container penguin']),
      );
      expect(await inContainer('id -un; pwd; hostname; . /etc/os-release; echo $ID $VERSION_CODENAME')).toEqual({
        ...{ out: 'ada\n/home/ada\npenguin\ndebian trixie', code: 0 },
      });
      expect(await inContainer('exit 7')).toMatchObject({ code: 7 });
      // Root of the container is nobody of the VM.
      expect(await inContainer('sudo -n id -u; sudo -n head -n 1 /proc/self/uid_map | tr -s " "')).toMatchObject({
        out: expect.stringMatching(/^0\n ?0 1000000 /),
      });
      expect((await inContainer('systemctl --user is-active cros-garcon')).out).toBe('active');
    },
    10 * MIN,
  );

  test(
    'has an address of the VM, and a way out',
    async () => {
      const address = await inContainer(
        'for i in $(seq 60); do ip -4 -o addr show eth0 scope global | grep -o "inet [0-9.]*" && break; sleep 1; done',
      );
      expect(address.out).toMatch(/^inet 100\.115\.92\.(19[4-9]|20[0-6])$/);
      expect((await inContainer('ping -c 1 -W 5 100.115.92.193 >/dev/null; echo $?')).out).toBe('0');
      expect((await inContainer('ip route show default')).out).toContain('via 100.115.92.193 dev eth0');
    },
    3 * MIN,
  );

  test(
    'is what the main command shows, and goes on after it',
    async () => {
      const shown = await runCommand(rig.runtime, 'terminal', { options: { vm: 'c' } });
      expect(shown.code).toBe(0);
      expect(Buffer.from(shown.bytes).toString()).toMatch(/^Linux penguin [\s\S]*^VERSION_CODENAME=trixie$/m);
      expect(await cicerone().listContainers()).toMatchObject([{ name: 'penguin', state: 'running', username: 'ada' }]);
    },
    3 * MIN,
  );

  test(
    'goes on while no runtime runs, and is found by the next one',
    async () => {
      const before = await inContainer('cut -d" " -f22 /proc/1/stat');
      await rig.restart();
      expect(await cicerone().listContainers()).toMatchObject([{ name: 'penguin', state: 'running' }]);
      expect(await inContainer('cut -d" " -f22 /proc/1/stat')).toEqual(before);
    },
    3 * MIN,
  );

  test(
    'stops, and cannot be entered then',
    async () => {
      await cicerone().stopContainer(PENGUIN);
      expect(await cicerone().listContainers()).toEqual([]);
      await expect(inContainer('true')).rejects.toMatchObject({ code: 'CROSTINI_ERR_CONTAINER_STATE' });
      expect(await rig.inGuest('c', 'ls /run/tokens')).toBe('penguin_token');
    },
    3 * MIN,
  );
});
