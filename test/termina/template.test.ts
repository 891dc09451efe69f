// VMs that are started from a template: users, scripts and ports are there when the command ends, or the VM is not.

import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { lacking } from '../vm/lab.ts';
import { TerminaRig } from './rig.ts';

const missing = lacking();
const MIN = 60_000;
const EXAMPLE = new URL('../../examples/web-server.vm.yaml', import.meta.url).pathname;

describe.skipIf(missing !== undefined)(`template${missing === undefined ? '' : ` (lacking: ${missing})`}`, () => {
  const rig = new TerminaRig();
  beforeAll(() => rig.open(), 10 * MIN);
  afterAll(() => rig.close(), MIN);

  const start = (vm: string, template: string, options: Readonly<Record<string, unknown>> = {}) =>
    rig.runtime.run('start', { args: [vm], options: { template, ...options } });
  const written = (name: string, text: string): string => {
    const file = join(rig.folder, name);
    writeFileSync(file, text);
    return file;
  };
  const logsOf = async (vm: string): Promise<string> => (await rig.runtime.run('vmc logs', { args: [vm] })).out.join();
  const running = async () => (await rig.termina.listVms()).map(({ name }) => name);

  test(
    'the example serves its page, which stays on its disk, and its first script runs once',
    async () => {
      const port = await freePort();
      const text = readFileSync(EXAMPLE, 'utf8').replace('8080:80', `${port}:80`);
      const file = written('web.yaml', text.replace('mkdir -p ~/pages', 'mkdir -p ~/pages; echo ran >> ~/runs'));
      // Options override the template.
      await start('web', file, { cpus: 1, mem: '768M' });
      expect(await rig.termina.getVm('web')).toMatchObject({ cpus: 1, memoryMib: 768, profile: 'full' });
      const page = (): Promise<string> =>
        vi.waitFor(async () => (await fetch(`http://127.0.0.1:${port}/`)).text(), { timeout: MIN, interval: 500 });
      expect(await page()).toBe('Hello from termina\n');
      expect(await rig.inGuest('web', 'id web; stat -c "%U %a" /home/web; cat /proc/cmdline')).toMatch(
        /^uid=1001\(web\) gid=1001\(web\) groups=1001\(web\),50\(staff\)\nweb 755\n.*loglevel=4/,
      );
      expect(await rig.inGuest('web', 'df --output=size -B1 /mnt/stateful | tail -1')).toBe(String(4 * 2 ** 30));
      await expect(start('web', file)).rejects.toMatchObject({ code: 'CROSTINI_ERR_VM_STATE' });
      const shell = (uid: number) =>
        rig.runtime.run('vmc start', { args: ['web'], options: { 'no-shell': true, user: 'ada', 'user-uid': uid } });
      await shell(1002);
      expect(await rig.inGuest('web', 'id -u ada; stat -c %U /home/ada')).toBe('1002\nada');
      await expect(shell(1003)).rejects.toThrow('/home/ada is there, and belongs to number 1002');
      expect(await running()).toEqual(['web']);

      await rig.termina.stopVm('web');
      await start('web', file);
      expect(await page()).toBe('Hello from termina\n');
      expect(await rig.inGuest('web', 'wc -l < /home/web/runs')).toBe('1');
      await rig.termina.stopVm('web');
    },
    8 * MIN,
  );

  test(
    'the first script that fails ends the start, with its exit code and its last lines',
    async () => {
      const file = written(
        'bad.yaml',
        [
          'profile: fast',
          'users: [{ name: ada, uid: 1001 }]',
          'scripts:',
          '  - { name: who, user: ada, run: "echo I am $(id -un) in $(pwd); cat; touch ~/mine" }',
          '  - name: bad',
          '    run: |',
          '      printf "one\\033[31m\\ntwo\\n" >&2',
          '      (exit 7)',
          '      echo never',
          '  - { name: after, run: "echo never" }',
        ].join('\n'),
      );
      await expect(start('bad', file)).rejects.toMatchObject({
        code: 'CROSTINI_ERR_TEMPLATE_SCRIPT',
        message:
          'script "bad" of the template ended with exit code 7, and VM "bad" was stopped. Its last lines:\n  one\n  two',
      });
      expect(await running()).toEqual([]);
      const log = await logsOf('bad');
      expect(log).toContain('script who: I am ada in /home/ada');
      expect(log).toContain('script bad: two');
      expect(log).not.toContain('never');
    },
    5 * MIN,
  );

  test(
    'a script that floods or does not end is ended; so is a start that nobody waits for any more',
    async () => {
      const long = written(
        'long.yaml',
        'profile: fast\nscripts: [{ timeout: 2, run: "yes x | tr -d \'\\\\n\' | head -c 30M; echo; sleep 100" }]',
      );
      await expect(start('long', long)).rejects.toThrow('script "1" of the template did not end within 2 s');
      expect(await running()).toEqual([]);
      const wait = written('wait.yaml', 'profile: fast\nscripts: [{ run: "echo begun; sleep 100" }]');
      const leave = new AbortController();
      const started = rig.runtime.run('start', { args: ['wait'], options: { template: wait }, signal: leave.signal });
      started.catch(() => {});
      await vi.waitFor(async () => expect(await logsOf('wait')).toContain('begun'), { timeout: MIN, interval: 200 });
      leave.abort();
      await expect(started).rejects.toThrow();
      expect(await running()).toEqual([]);
    },
    5 * MIN,
  );
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { readonly port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
