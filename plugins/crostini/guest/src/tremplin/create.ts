// New containers. One is made under a name of its own, and gets the wanted one when it is whole: a machine that is switched
// off meanwhile leaves nothing that looks finished.

import { randomBytes } from 'node:crypto';
import { closeSync, constants, createReadStream, fstatSync, openSync, readSync } from 'node:fs';
import { Readable } from 'node:stream';
import type { LxdClient } from '../lxd/client.ts';
import type { LxdUpload } from '../lxd/http.ts';
import { textOf } from '../lxd/json.ts';
import { IN_PROGRESS } from './names.ts';

export interface CreateRequest {
  readonly container_name: string;
  readonly image_server: string;
  readonly image_alias: string;
  readonly rootfs_path: string;
  readonly metadata_path: string;
}

/** In the URL of a server: the milestone of ChromeOS whose images are wanted. */
const MILESTONE = '%d';
const PATH_MAX = 4096;

export interface CreateOptions {
  readonly milestone: number;
  /** Whole percents of a download. */
  readonly onDownload: (percent: number) => void;
  readonly signal?: AbortSignal;
}

/** Why a request cannot be meant so; undefined when it can. */
export function wrongWith({
  image_server,
  image_alias,
  rootfs_path,
  metadata_path,
}: CreateRequest): string | undefined {
  const isLocal = rootfs_path !== '' || metadata_path !== '';
  if (isLocal) {
    if (image_server !== '' || image_alias !== '') return 'an image comes from a server or from files, not from both';
    for (const path of [rootfs_path, metadata_path]) {
      if (!path.startsWith('/') || path.length > PATH_MAX || path.includes('\0')) {
        return `${JSON.stringify(path.slice(0, 200))} is no path of a file: both rootfs_path and metadata_path are needed`;
      }
    }
    return undefined;
  }
  if (!/^https?:\/\/[^\s]{1,1000}$/.test(image_server)) return 'image_server is no URL';
  if (!/^[^\s]{1,255}$/.test(image_alias)) return 'there is no image_alias';
  return undefined;
}

/** @throws LxdError; Error of the file system */
export async function createContainer(
  client: LxdClient,
  request: CreateRequest,
  options: CreateOptions,
): Promise<void> {
  await client.remove(IN_PROGRESS);
  const { signal } = options;
  const source =
    request.rootfs_path === ''
      ? remoteSource(request, options.milestone)
      : { type: 'image', fingerprint: await importFiles(client, request, signal) };
  await client.call('POST', '/1.0/instances', {
    body: { name: IN_PROGRESS, type: 'container', profiles: ['default'], source },
    idleMs: 0,
    onProgress: ({ download_progress: text }) => {
      const percent = downloadPercent(textOf(text));
      if (percent !== undefined) options.onDownload(percent);
    },
    ...(signal === undefined ? {} : { signal }),
  });
  await client.rename(IN_PROGRESS, request.container_name);
}

/** "rootfs: 23% (1.2MB/s)". The metadata come first, and are nothing beside it. */
export function downloadPercent(text: string): number | undefined {
  const [, part, digits] = /^(rootfs|metadata): (\d{1,3})%/.exec(text) ?? [];
  if (digits === undefined) return undefined;
  return part === 'metadata' ? 0 : Math.min(100, Number(digits));
}

function remoteSource({ image_server, image_alias }: CreateRequest, milestone: number): object {
  const server = image_server.replace(MILESTONE, String(milestone));
  return { type: 'image', mode: 'pull', protocol: 'simplestreams', server, alias: image_alias };
}

async function importFiles(
  client: LxdClient,
  { metadata_path, rootfs_path }: CreateRequest,
  signal: AbortSignal | undefined,
): Promise<string> {
  const parts = [openPart('metadata', metadata_path), openPart('rootfs', rootfs_path)];
  const work = signal === undefined ? {} : { signal };
  return client.importImage(multipart(parts), {}, work);
}

interface Part {
  readonly name: string;
  readonly fd: number;
  readonly bytes: number;
}

/** @throws Error when it is no file, or nothing in it */
function openPart(name: string, path: string): Part {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const stats = fstatSync(fd);
  if (stats.isFile() && stats.size > 0 && readSync(fd, Buffer.alloc(1)) === 1) return { name, fd, bytes: stats.size };
  closeSync(fd);
  throw new Error(`${path} is no file with an image in it`);
}

/** RFC 7578, with the length told first: LXD has no use for the rest when the disk is full. */
function multipart(parts: readonly Part[]): LxdUpload {
  const boundary = randomBytes(16).toString('hex');
  const head = ({ name }: Part): Buffer =>
    Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="${name}"; filename="${name}"\r\n` +
        'Content-Type: application/octet-stream\r\n\r\n',
    );
  const tail = Buffer.from(`--${boundary}--\r\n`);
  const newline = Buffer.from('\r\n');
  async function* content(): AsyncGenerator<Buffer> {
    for (const part of parts) {
      yield head(part);
      yield* createReadStream('', { fd: part.fd, start: 0, end: part.bytes - 1, highWaterMark: 2 ** 20 });
      yield newline;
    }
    yield tail;
  }
  const bytes = parts.reduce((all, part) => all + head(part).length + part.bytes + newline.length, tail.length);
  return { content: Readable.from(content()), bytes, type: `multipart/form-data; boundary=${boundary}` };
}
