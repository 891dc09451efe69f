// Everything that a guest, or whoever has the socket of the machine, can speak to.

import {
  blockQcow2,
  blockRaw,
  consoleTarget,
  diceTarget,
  inputTarget,
  netPasst,
  netTap,
  rngTarget,
  vsockTarget,
} from './device-targets.ts';
import { blockFrontEndTarget, frontEndTarget } from './front-end-target.ts';
import type { Target } from './target.ts';

export const TARGETS: Readonly<Record<string, () => Promise<Target>>> = {
  'block-raw': blockRaw,
  'block-qcow2': blockQcow2,
  'net-passt': netPasst,
  'net-tap': netTap,
  vsock: vsockTarget,
  rng: rngTarget,
  console: consoleTarget,
  input: inputTarget,
  dice: diceTarget,
  'vhost-user': frontEndTarget,
  'vhost-user-block': blockFrontEndTarget,
};
