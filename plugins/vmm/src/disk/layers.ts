// What a disk is made of: the image on top and the backing files below it. They say where the bytes of a range are.

import { errors } from '../errors.ts';
import { type ImageFile, imageFile } from './image-file.ts';
import { Qcow2Image } from './qcow2/image.ts';
import { COMPRESSED, CORRUPT, SHARED, UNALLOCATED } from './qcow2/mapping-tables.ts';

export type DiskFormat = 'raw' | 'qcow2';

/** A file of a chain, open. The first is the image, the others are backing files, each of the one before. */
export interface ChainEntry {
  readonly fd: number;
  readonly format: DiskFormat;
  /** For messages. */
  readonly name: string;
}

export const HOLE = 0;
export const ZEROES = 1;
export const DATA = 2;
export const PACKED = 3;
export const BROKEN = 4;

/** Answer of locate(); one object is used again and again. */
export interface Extent {
  /** HOLE: nothing is there, the layers below are asked. */
  kind: number;
  /** Bytes, at most what was asked for. */
  length: number;
  /** Of DATA: where it lies in `fd`. */
  host: number;
  fd: number;
  layer: Layer | undefined;
}

export function newExtent(): Extent {
  return { kind: HOLE, length: 0, host: 0, fd: -1, layer: undefined };
}

export interface Layer {
  readonly fd: number;
  readonly size: number;
  readonly image: Qcow2Image | undefined;
  /** `length` > 0, and the range is within `size`. @throws what reading a table failed with */
  locate(offset: number, length: number, extent: Extent): void;
}

function rawLayer(file: ImageFile): Layer {
  const layer: Layer = {
    fd: file.fd,
    size: file.size(),
    image: undefined,
    locate(offset, length, extent) {
      extent.kind = DATA;
      extent.length = length;
      extent.host = offset;
      extent.fd = file.fd;
      extent.layer = layer;
    },
  };
  return layer;
}

function qcow2Layer(image: Qcow2Image): Layer {
  const { clusterSize, tables } = image;
  const layer: Layer = {
    fd: image.file.fd,
    get size() {
      return image.size;
    },
    image,
    locate(offset, length, extent) {
      const cluster = Math.floor(offset / clusterSize);
      const within = offset - cluster * clusterSize;
      let reach = clusterSize - within;
      const first = tables.entry(cluster);
      extent.layer = layer;
      extent.fd = image.file.fd;
      if (first > 0) {
        for (let next = 1; reach < length && tables.entry(cluster + next) === first + next * clusterSize; next += 1)
          reach += clusterSize;
        extent.kind = DATA;
        extent.host = first + within;
      } else if (first === COMPRESSED) extent.kind = PACKED;
      else if (first === CORRUPT) extent.kind = BROKEN;
      else if (first === SHARED) {
        extent.kind = DATA;
        extent.host = tables.hostOffset(tables.raw(cluster)) + within;
      } else {
        if (first === UNALLOCATED && !tables.hasTable(cluster)) reach = tables.tableEnd(cluster) * clusterSize - offset;
        for (
          let next = Math.ceil((offset + reach) / clusterSize);
          reach < length && tables.entry(next) === first;
          next += 1
        )
          reach += clusterSize;
        extent.kind = first === UNALLOCATED ? HOLE : ZEROES;
      }
      extent.length = Math.min(length, reach);
    },
  };
  return layer;
}

/**
 * Where the bytes of a range are, from layer `from` downwards; never HOLE. What no layer has, and what lies beyond the
 * end of a backing file, is ZEROES.
 */
export function locate(layers: readonly Layer[], from: number, offset: number, length: number, extent: Extent): void {
  let left = length;
  for (let index = from; index < layers.length; index += 1) {
    const layer = layers[index] as Layer;
    if (offset >= layer.size) break;
    layer.locate(offset, Math.min(left, layer.size - offset), extent);
    if (extent.kind !== HOLE) return;
    left = extent.length;
  }
  extent.kind = ZEROES;
  extent.length = left;
}

/** Whether all of a range reads as zeroes from layer `from` downwards, as far as the tables tell. */
export function readsAsZeroes(
  layers: readonly Layer[],
  from: number,
  offset: number,
  length: number,
  extent: Extent,
): boolean {
  for (let done = 0; done < length; done += extent.length) {
    locate(layers, from, offset + done, length - done, extent);
    if (extent.kind !== ZEROES) return false;
  }
  return true;
}

export interface OpenLayersOptions {
  /** Whether the first one is to be written to. */
  readonly writable: boolean;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** How a file is read and written; for tests. */
  readonly open?: (fd: number, name: string) => ImageFile;
}

/** @throws VMM_ERR_DISK_… of whichever layer cannot be used */
export function openLayers(chain: readonly ChainEntry[], options: OpenLayersOptions): Layer[] {
  const open = options.open ?? imageFile;
  const layers = chain.map(({ fd, format, name }, index) =>
    format === 'raw'
      ? rawLayer(open(fd, name))
      : qcow2Layer(Qcow2Image.open(open(fd, name), { writable: options.writable && index === 0, warn: options.warn })),
  );
  const top = layers[0]?.image;
  const bottom = layers.at(-1)?.image;
  if (top === undefined)
    throw errors.VMM_ERR_DISK_FORMAT({ details: { image: chain[0]?.name ?? 'the disk', why: 'it is not qcow2' } });
  if (bottom?.header.backing !== undefined)
    throw errors.VMM_ERR_DISK_BACKING({
      details: {
        image: chain[0]?.name ?? '',
        why: `${bottom.file.name} has a backing file, which was not opened`,
        hint: 'Open the whole chain.',
      },
    });
  return layers;
}
