// What an input device can be told.

import { checkedOptions, oneOf, type Rule } from '../checked-options.ts';
import { CONFIG } from './codes.ts';
import { INPUT_KINDS, type InputKind } from './profiles.ts';

export interface InputOptions {
  readonly profile: InputKind;
  /** What the guest calls it; default after its profile. At most 128 bytes. */
  readonly name: string;
  /** At most 128 bytes. */
  readonly serial: string;
}

const text: Rule = [
  `must be a text of at most ${CONFIG.dataBytes} bytes`,
  (value) => typeof value === 'string' && Buffer.byteLength(value) <= CONFIG.dataBytes,
];

export const inputOptions = checkedOptions<InputOptions>(
  'input',
  { profile: oneOf(INPUT_KINDS), name: text, serial: text },
  { name: '', serial: '' },
);
