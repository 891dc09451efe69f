import { expect, test } from 'vitest';
import { planVm } from '../description/resolve.ts';
import { checkSnapshot, pluggedAfter, shapeOf, slotsAfter } from './snapshots.ts';

const plan = planVm(
  {
    name: 'dev',
    ...{ block: [{ path: '/root.img', ro: true }, { path: '/own.img' }], vsock: true, rng: true, balloon: true },
    net: [{ backend: 'user' }],
  },
  { cwd: '/', netBackend: 'user' },
);
const boot = { kernel: '/kernel', initrd: undefined, params: 'quiet' };
const shape = shapeOf(plan, boot, 'tcg');
const snapshot = { path: '/state', program: 'qemu', shape, slots: { block0: 2, balloon0: 5 } };

test('what is in a snapshot keeps its slot, and vsock comes last', () => {
  expect(pluggedAfter(snapshot.slots, plan)).toEqual(['block1', 'rng0', 'net0', 'vsock0']);
  expect(slotsAfter(snapshot, plan)).toEqual({ block0: 2, balloon0: 5, block1: 3, rng0: 4, net0: 6, vsock0: 7 });
});

test('a VM of the same kind can go on from it', () => {
  expect(() => checkSnapshot(snapshot, plan, shape)).not.toThrow();
});

test.each([
  ['machine of kind', { ...plan, board: 'q35' as const }, shape],
  ['serial ports', { ...plan, serials: [{ port: 2, path: '/x' }] }, shape],
  ['another kind of VM', plan, shapeOf({ ...plan, memoryMib: 1024 }, boot, 'tcg')],
  ['another kind of VM', plan, shapeOf(plan, { ...boot, params: '' }, 'tcg')],
  ['another kind of VM', plan, shapeOf(plan, boot, 'kvm')],
  ['lacks device balloon0', { ...plan, natives: [] }, shape],
])('one of which that is not so is refused: %s', (why, other, own) => {
  expect(() => checkSnapshot(snapshot, other, own)).toThrow(why);
});
