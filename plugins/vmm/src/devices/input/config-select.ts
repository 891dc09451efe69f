// The configuration space of an input device: the driver writes what it wants to know, and reads the answer. §5.8.4

import { BUS_VIRTUAL, CONFIG, SELECT } from './codes.ts';
import type { InputOptions } from './options.ts';
import { PROFILES } from './profiles.ts';

/** Writes the answer to what `bytes` ask for; nothing (size 0) to what is not there. */
export function answerSelect(bytes: Uint8Array, options: InputOptions): void {
  const data = answerOf(bytes[CONFIG.select] as number, bytes[CONFIG.subsel] as number, options);
  bytes.fill(0, CONFIG.size);
  bytes[CONFIG.size] = data.length;
  bytes.set(data, CONFIG.data);
}

function answerOf(select: number, subsel: number, { profile: asked, name, serial }: InputOptions): Uint8Array {
  const profile = PROFILES[asked];
  // Only events and axes are asked for one by one.
  if (subsel !== 0 && select !== SELECT.events && select !== SELECT.absolute) return new Uint8Array();
  switch (select) {
    case SELECT.name:
      return text(name === '' ? profile.name : name);
    case SELECT.serial:
      return text(serial);
    case SELECT.ids:
      return words(Uint16Array, BUS_VIRTUAL, 0, profile.product, 1);
    case SELECT.props:
      return bitmap(profile.properties);
    case SELECT.events:
      return bitmap(profile.codes.get(subsel) ?? []);
    case SELECT.absolute: {
      const axis = profile.axes.get(subsel);
      // min, max, fuzz, flat, resolution.
      return axis === undefined ? new Uint8Array() : words(Uint32Array, axis.min, axis.max, 0, 0, 0);
    }
    default:
      return new Uint8Array();
  }
}

function text(value: string): Uint8Array {
  return Buffer.from(value).subarray(0, CONFIG.dataBytes);
}

function words(Type: typeof Uint16Array | typeof Uint32Array, ...values: number[]): Uint8Array {
  return new Uint8Array(Type.from(values).buffer);
}

/** Without zeros at its end. */
function bitmap(bits: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(bits.length === 0 ? 0 : (Math.max(...bits) >>> 3) + 1);
  for (const bit of bits) bytes[bit >>> 3] = (bytes[bit >>> 3] as number) | (1 << (bit & 7));
  return bytes;
}
