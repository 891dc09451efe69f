// The container in which ChromeOS exports disks: zstd frames of 128 KiB each (RFC 8878), then a skippable frame that tells
// the type of the VM, then a table of all frames, by which a reader finds any byte without reading what is before it
// (zstd's contrib/seekable_format/zstd_seekable_compression_format.md). `zstd -d` gives the disk.

import { VM_TYPES } from '../vm-types.ts';

/** What one frame holds. */
export const FRAME_BYTES: number = 128 * 1024;
export const LEVEL = 4;

export const FRAME_MAGIC = 0xfd2f_b528;
/** The last hexadecimal digit may be any. */
export const SKIPPABLE_MAGIC = 0x184d_2a50;
export const METADATA_MAGIC = 0x184d_2a55;
export const TABLE_MAGIC = 0x184d_2a5e;
export const FOOTER_MAGIC = 0x8f92_eab1;
/** u32 magic, u32 length of what follows. */
export const SKIPPABLE_HEADER = 8;
/** u32 compressed, u32 decompressed bytes. */
export const TABLE_ENTRY = 8;
/** u32 frames, u8 descriptor (0: the entries have no checksums), u32 magic. */
export const TABLE_FOOTER = 9;

const METADATA_BYTES = 39;
const METADATA_ID = 'CROSVMEXPMETA';
const TYPE_KEY = 'user.crostini.vm_type';

export type VmType = keyof typeof VM_TYPES;

export function skippableFrame(magic: number, content: Uint8Array): Buffer {
  const frame = Buffer.alloc(SKIPPABLE_HEADER + content.length);
  frame.writeUInt32LE(magic, 0);
  frame.writeUInt32LE(content.length, 4);
  frame.set(content, SKIPPABLE_HEADER);
  return frame;
}

/** 47 bytes: three strings that end with a zero each, and zeroes. */
export function metadataFrame(type: VmType): Buffer {
  const content = Buffer.alloc(METADATA_BYTES);
  content.write(`${METADATA_ID}\0${TYPE_KEY}\0${VM_TYPES[type]}\0`, 'latin1');
  return skippableFrame(METADATA_MAGIC, content);
}

/** `undefined`: it is not such a frame; `unknown`: a type that there is not here. */
export function parseMetadata(content: Uint8Array): VmType | 'unknown' | undefined {
  const [id, key, value] = Buffer.from(content).toString('latin1').split('\0', 4);
  if (id !== METADATA_ID || key !== TYPE_KEY || value === undefined) return undefined;
  const known = Object.entries(VM_TYPES).find(([, number]) => String(number) === value);
  return known === undefined ? 'unknown' : (known[0] as VmType);
}

/** Collects the table while frames are written. Frames that are alike and follow each other take no memory. */
export class SeekTable {
  #frames = 0;
  readonly #runs: { compressed: number; decompressed: number; count: number }[] = [];

  add(compressed: number, decompressed: number, count = 1): void {
    this.#frames += count;
    const last = this.#runs.at(-1);
    if (last?.compressed === compressed && last.decompressed === decompressed) last.count += count;
    else this.#runs.push({ compressed, decompressed, count });
  }

  /** The skippable frame in pieces of at most 1 MiB. */
  *encode(): Generator<Buffer> {
    const header = Buffer.alloc(SKIPPABLE_HEADER);
    header.writeUInt32LE(TABLE_MAGIC, 0);
    header.writeUInt32LE(this.#frames * TABLE_ENTRY + TABLE_FOOTER, 4);
    yield header;
    const piece = Buffer.alloc(2 ** 20);
    let at = 0;
    for (const { compressed, decompressed, count } of this.#runs) {
      for (let left = count; left > 0; left -= 1) {
        piece.writeUInt32LE(compressed, at);
        piece.writeUInt32LE(decompressed, at + 4);
        at += TABLE_ENTRY;
        if (at < piece.length) continue;
        yield piece;
        at = 0;
      }
    }
    if (at > 0) yield piece.subarray(0, at);
    const footer = Buffer.alloc(TABLE_FOOTER);
    footer.writeUInt32LE(this.#frames, 0);
    footer.writeUInt32LE(FOOTER_MAGIC, 5);
    yield footer;
  }
}
