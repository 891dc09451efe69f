import type { VmDescription } from '@runtime/plugin-vmm/contract';
import { expect, test } from 'vitest';
import { templateKey, templateOf, wakeable } from './template.ts';

const vm: VmDescription = {
  ...{ name: 't-foo', kernel: '/k', initrd: '/i', params: ['quiet'], mem: 512, cpus: 1, balloon: true },
  ...{ block: [{ path: '/root', ro: true }, { path: '/own' }], vsock: { ports: [8888] }, net: [{}] },
};

test('a template has what all VMs of its kind have', () => {
  expect(templateOf(vm, 'template')).toEqual({
    ...{ name: 'template', kernel: '/k', initrd: '/i', params: ['quiet', 'maitred.template'] },
    ...{ mem: 512, cpus: 1, balloon: true, block: [{ path: '/root', ro: true }], net: [], vsock: false, rng: false },
  });
  expect(wakeable(vm)).toEqual({ ...vm, params: ['quiet', 'maitred.template'] });
});

test('VMs of one kind have one key', () => {
  const key = templateKey(vm, 'tcg');
  expect(key).toMatch(/^[0-9a-f]{32}$/);
  expect(templateKey({ ...vm, name: 't-bar', net: [], block: [{ path: '/root', ro: true }] }, 'tcg')).toBe(key);
  const others: readonly VmDescription[] = [
    { ...vm, mem: 1024 },
    { ...vm, cpus: 2 },
    { ...vm, balloon: false },
    { ...vm, params: ['verbose'] },
    { ...vm, kernel: '/other' },
    { ...vm, initrd: '/other' },
    { ...vm, block: [{ path: '/other', ro: true }] },
  ];
  const keys = new Set([key, templateKey(vm, 'kvm'), ...others.map((other) => templateKey(other, 'tcg'))]);
  expect(keys.size).toBe(others.length + 2);
});
