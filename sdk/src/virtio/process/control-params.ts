// Parameters of the requests that a device process takes, checked by hand: a schema library costs more memory than the
// rest of an idle device.

import { isAbsolute } from 'node:path';
import { errors } from '../../errors.ts';

const MAX_NAME = 64;
const MAX_THREADS = 64;

export interface LoadParams {
  readonly id: string;
  /** Folder of the package of the device, and the module in it; absolute. */
  readonly root: string;
  readonly file: string;
  readonly options: unknown;
  /** Of the descriptors, in their order. */
  readonly names: readonly string[];
  /** That serve its queues, 1 to 64. */
  readonly threads: number;
  /** Stamp of the compiled host whose sources are unchanged. */
  readonly compiled: string | undefined;
}

export interface ModulePlace {
  readonly root: string;
  readonly file: string;
}

function refuse(why: string): never {
  throw errors.SDK_ERR_DEVICE_LINK({ details: { device: 'process', why: `sent what cannot be: ${why}` } });
}

function fields(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse('parameters that are no object');
  return value as Readonly<Record<string, unknown>>;
}

/** @throws SDK_ERR_DEVICE_LINK */
export function parseLoad(value: unknown, fdCount: number): LoadParams {
  const { id, root, file, options, names, threads = 1, compiled } = fields(value);
  if (typeof id !== 'string' || id === '' || id.length > MAX_NAME) refuse('an id');
  if (!Array.isArray(names) || names.length !== fdCount || !names.every(isName)) refuse('the names of descriptors');
  if (!Number.isInteger(threads) || (threads as number) < 1 || (threads as number) > MAX_THREADS) refuse('threads');
  if (compiled !== undefined && typeof compiled !== 'string') refuse('a stamp');
  return { id, ...place(root, file), options, names, threads: threads as number, compiled };
}

/** @param current where the code is now @throws SDK_ERR_DEVICE_LINK */
export function parseReload(value: unknown, current: ModulePlace | undefined): ModulePlace {
  const { root, file } = fields(value ?? {});
  if (root === undefined && file === undefined && current !== undefined) return current;
  return place(root, file);
}

/** @throws SDK_ERR_DEVICE_LINK */
export function parseRequest(value: unknown): { readonly method: string; readonly params: unknown } {
  const { method, params } = fields(value);
  if (typeof method !== 'string' || method === '' || method.length > MAX_NAME) refuse('a method');
  return { method, params };
}

function place(root: unknown, file: unknown): ModulePlace {
  if (typeof root !== 'string' || !isAbsolute(root)) refuse('the folder of a module');
  if (typeof file !== 'string' || !isAbsolute(file)) refuse('the path of a module');
  return { root, file };
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z][a-z0-9-]{0,63}$/.test(value);
}
