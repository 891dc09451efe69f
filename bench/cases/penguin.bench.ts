// From nothing to a Debian container that answers: its VM boots, LXD starts, the container does, its garcon calls. Images are
// there already.

import { bringUpContainer } from '../../plugins/crostini/src/cicerone/bring-up.ts';
import type { CiceroneManager } from '../../plugins/crostini/src/cicerone/cicerone-manager.ts';
import { containers } from '../../plugins/crostini/src/contract-containers.ts';
import { TerminaRig } from '../../test/termina/rig.ts';
import { type Benchmark, type Side, Timed } from '../benchmark.ts';

const NS_PER_S = 1e9;
/** Where the throw-away proof of this, without a host program of ours, got to: 19 to 36 s. */
const PROOF_S = 36;

/** Until the container in that VM answers. */
async function bringUp(rig: TerminaRig, vm: string): Promise<number> {
  const startedAt = process.hrtime.bigint();
  await rig.termina.startVm({ name: vm, profile: 'full' });
  const cicerone = rig.runtime.get(containers) as CiceroneManager;
  await bringUpContainer({ concierge: rig.termina, cicerone }, { vm, container: 'penguin' }, 'ada', {});
  return Number(process.hrtime.bigint() - startedAt);
}

function penguin(row: Pick<Benchmark, 'name' | 'title' | 'target'>, rounds: number, side: (rig: TerminaRig) => Side) {
  return {
    ...row,
    plan: { iterations: 1, rounds, warmUp: 0 },
    async prepare() {
      const rig = new TerminaRig();
      await rig.open();
      return { ours: side(rig), end: () => rig.close() };
    },
  } satisfies Benchmark;
}

const benchmarks: readonly Benchmark[] = [
  penguin(
    {
      name: 'penguin/first',
      title: 'a Debian container: from the wish for its VM until it answers, when there was none of either',
      target: { kind: 'none' },
    },
    2,
    (rig) => {
      let count = 0;
      return async () => {
        const vm = `first${count++}`;
        const ns = await bringUp(rig, vm);
        await rig.termina.stopVm(vm);
        return new Timed(ns);
      };
    },
  ),
  penguin(
    {
      name: 'penguin/again',
      title: 'the same, when the container had been made, and its VM stopped',
      target: { kind: 'absolute', atMostNs: PROOF_S * NS_PER_S },
    },
    3,
    (rig) => {
      let isMade = false;
      return async () => {
        if (!isMade) await bringUp(rig, 'again');
        if (!isMade) await rig.termina.stopVm('again');
        isMade = true;
        const ns = await bringUp(rig, 'again');
        await rig.termina.stopVm('again');
        return new Timed(ns);
      };
    },
  ),
];

export default benchmarks;
