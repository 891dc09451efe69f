// The rest of the world, as those see it who ask it for something.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Namespace } from './answers.ts';

export const WORLD = {
  address: '203.0.113.2',
  /** Of this computer. */
  host: '203.0.113.1',
  name: 'shop.test',
  card: 'world',
  web: 80,
  notes: 9999,
} as const;

/** For a process that is alone in its namespaces of networks and mounts: it is connected, and has a name server. */
export async function makeWorld(): Promise<Namespace> {
  const ip = (line: string): unknown => execFileSync('ip', line.split(' '));
  const world = new Namespace(join(import.meta.dirname, 'internet.ts'));
  ip('link set lo up');
  ip(`link add uplink type veth peer name ${WORLD.card} netns ${await world.ask('pid')}`);
  ip(`addr add ${WORLD.host}/24 dev uplink`);
  ip('link set uplink up');
  ip(`route add default via ${WORLD.address}`);
  await world.ask('up');
  const folder = mkdtempSync(join(tmpdir(), 'world-'));
  const names = join(folder, 'resolv.conf');
  writeFileSync(names, `nameserver ${WORLD.address}\n`);
  execFileSync('mount', ['--bind', names, '/etc/resolv.conf']);
  // It stays where it is mounted.
  rmSync(folder, { recursive: true });
  return world;
}
