// Reading: a range is taken piece by piece, as the layers have it.

import { BROKEN, DATA, type Layer, locate, ZEROES } from '../layers.ts';
import type { Engine } from './engine.ts';
import { EIO } from './operations.ts';
import { Phase, type Request } from './request.ts';

export function stepRead(engine: Engine, request: Request): void {
  const { layers, extent, buffers } = engine;
  while (request.left > 0) {
    locate(layers, 0, request.offset, request.left, extent);
    if (extent.kind === DATA) {
      engine.operations.transfer(request, Phase.read, extent.fd, extent.host, extent.length);
      return;
    }
    if (extent.kind === BROKEN) {
      engine.end(request, -EIO);
      return;
    }
    if (extent.kind === ZEROES) engine.operations.fill(request, extent.length, buffers.zeroFd, 0);
    else {
      const layer = extent.layer as Layer;
      // Layers below may have larger clusters than there is room for in a buffer.
      const length = Math.min(extent.length, engine.clusterSize);
      const bytes = unpacked(engine, layer, request.offset, length);
      buffers.bytes(buffers.scratch).set(bytes);
      engine.operations.fill(request, length, buffers.fd, buffers.position(buffers.scratch));
    }
  }
  engine.end(request, 0);
}

/** Copies what a cluster holds into the buffer of the request. @returns true once it is there; else an operation is in flight */
export function stepCopy(engine: Engine, request: Request): boolean {
  const { layers, extent, buffers, clusterSize } = engine;
  while (request.copyLeft > 0) {
    const within = clusterSize - request.copyLeft;
    locate(layers, 0, request.copyOffset, request.copyLeft, extent);
    const { length } = extent;
    if (extent.kind === BROKEN) throw Object.assign(new Error('a cluster cannot be read'), { errno: -EIO });
    request.copyOffset += length;
    request.copyLeft -= length;
    if (extent.kind === DATA) {
      const address = buffers.address(request.slot) + within;
      engine.operations.transferOwn(request, Phase.copyOut, extent.fd, extent.host, address, length);
      return false;
    }
    const target = buffers.bytes(request.slot).subarray(within, within + length);
    if (extent.kind === ZEROES) target.fill(0);
    else target.set(unpacked(engine, extent.layer as Layer, request.copyOffset - length, length));
  }
  return true;
}

function unpacked(engine: Engine, layer: Layer, offset: number, length: number): Uint8Array {
  const bytes = engine.unpack(layer, offset);
  const within = offset % bytes.length;
  return bytes.subarray(within, within + length);
}
