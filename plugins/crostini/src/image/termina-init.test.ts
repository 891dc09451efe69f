import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { terminaInit } from './termina-init.ts';
import { PROFILES, WITHOUT } from './termina-packages.ts';

test.each([true, false])('with dm-verity %s it is a sound script of sh', (verity) => {
  const script = terminaInit({ verity, atOnce: ['button', 'virtio_rng'] });
  const { status, stderr } = spawnSync('sh', ['-n'], { input: script, encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(script.includes('dmsetup')).toBe(verity);
  // Nothing of the template is left, and what the shell is to expand is.
  expect(script).not.toContain('undefined');
  expect(script).toMatch(/modprobe -q -a button virtio_rng /);
  expect(script.trimEnd().split('\n').at(-2)).toBe(
    'exec $b switch_root /root /opt/runtime/node /opt/runtime/guest.cjs',
  );
});

test.each(Object.entries(PROFILES))('the tables of profile %s fit together', (_, { packages, modules, atOnce }) => {
  for (const name of atOnce) expect(modules).toContain(name);
  for (const name of packages) expect(WITHOUT).not.toContain(name);
  expect(new Set(modules).size).toBe(modules.length);
});
