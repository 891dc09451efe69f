// --tap: VMs have taps, rules of nftables and name servers, in namespaces of networks, mounts and processes of their own.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { makeWorld } from '../../plugins/crostini/src/network/test-programs/world.ts';

const ALONE = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const INSIDE = 'RUNTIME_SOAK_TAP';
const SETTINGS = ['settings.crostini.config.network=tap', 'settings.crostini.config.dbus=off'];

/** Runs this very command in there, or the program if this is it. @throws when there can be no namespaces: it takes root */
export async function withTaps(program: (settings: readonly string[]) => Promise<boolean>): Promise<boolean> {
  if (process.env[INSIDE] === undefined) {
    const argv = [...ALONE, process.execPath, ...process.execArgv, ...process.argv.slice(1)];
    const child = spawn('unshare', argv, { env: { ...process.env, [INSIDE]: '1' }, stdio: 'inherit' });
    const [code] = await once(child, 'close');
    return code === 0;
  }
  // Nothing of the machine itself is written to.
  execFileSync('mount', ['-t', 'tmpfs', 'none', '/run']);
  using _world = await makeWorld();
  return await program(SETTINGS);
}
