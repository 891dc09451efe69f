// `runtime vm disk …`.

import { resolve } from 'node:path';
import type { CommandRegistry } from '@runtime/sdk';
import { copyDisk } from '../disk/copy.ts';
import type { DiskFormat } from '../disk/layers.ts';
import { toBytes } from '../disk/size.ts';
import { checkDisk, createDisk, type DiskInfo, diskInfo, resizeDisk } from '../disk/tool.ts';

const FORMATS = ['raw', 'qcow2'] as const;
const IMAGE = { name: 'image', summary: 'its file', required: true } as const;
const FORMAT = {
  type: 'string',
  choices: FORMATS,
  summary: 'of the image; default: qcow2 when its name ends so, else raw',
} as const;

export function addDisk(commands: CommandRegistry): void {
  commands.add(
    {
      name: 'vm disk create',
      summary: 'make an empty disk image, or one over another',
      args: [IMAGE, { name: 'size', summary: 'such as 512M or 10G; with --backing default: its size' }],
      options: {
        format: { ...FORMAT, short: 'f' },
        backing: {
          type: 'string',
          short: 'b',
          summary: 'qcow2: image that this one is laid over, and that stays as it is',
        },
        backingFormat: { ...FORMAT, summary: 'of the backing image' },
      },
    },
    async ({ args: [image = '', size], options, io }) => {
      const path = resolve(io.cwd, image);
      const { backing } = options;
      createDisk({
        path,
        format: formatOf(image, options.format),
        ...(size === undefined ? {} : { size: toBytes(size) }),
        ...(backing === undefined
          ? {}
          : { backing: { path: resolve(io.cwd, backing), format: formatOf(backing, options.backingFormat) } }),
      });
      await io.data(flat(diskInfo(path, { format: formatOf(image, options.format) })));
    },
  );

  commands.add(
    {
      name: 'vm disk resize',
      summary: 'change the size of a disk image that is not in use',
      description: 'For one that is in use: runtime vm device request VM block0 resize',
      args: [IMAGE, { name: 'size', summary: 'such as 10G, or +2G for as much more', required: true }],
      options: {
        format: { ...FORMAT, short: 'f' },
        shrink: { type: 'boolean', summary: 'let what is beyond a smaller end be lost' },
      },
    },
    async ({ args: [image = '', size = ''], options, io }) => {
      const path = resolve(io.cwd, image);
      const format = formatOf(image, options.format);
      const before = size.startsWith('+') ? diskInfo(path, { format }).virtualSize : 0;
      await resizeDisk(path, { format, size: before + toBytes(size.replace(/^\+/, '')), shrink: options.shrink });
      await io.data(flat(diskInfo(path, { format })));
    },
  );

  commands.add(
    {
      name: 'vm disk convert',
      summary: 'copy a disk image into one of another format',
      args: [
        { name: 'from', summary: 'the image to copy', required: true },
        { name: 'to', summary: 'the image to make', required: true },
      ],
      options: {
        format: { ...FORMAT, short: 'f', summary: 'of the image to copy' },
        toFormat: { ...FORMAT, short: 'O', summary: 'of the image to make' },
      },
    },
    async ({ args: [from = '', to = ''], options, io, signal }) => {
      let told: Promise<void> = Promise.resolve();
      const target = { path: resolve(io.cwd, to), format: formatOf(to, options.toFormat) };
      await copyDisk(
        { from: { path: resolve(io.cwd, from), format: formatOf(from, options.format) }, to: target },
        (fraction) => {
          told = told.then(() => io.progress('copying', fraction));
        },
        signal,
      );
      await told;
      await io.data(flat(diskInfo(target.path, { format: target.format })));
    },
  );

  commands.add(
    {
      name: 'vm disk info',
      summary: 'show what a disk image is, also while it is in use',
      args: [IMAGE],
      options: { format: { ...FORMAT, short: 'f' } },
    },
    async ({ args: [image = ''], options, io }) => {
      await io.data(flat(diskInfo(resolve(io.cwd, image), { format: formatOf(image, options.format) })));
    },
  );

  commands.add(
    {
      name: 'vm disk check',
      summary: 'look for damage in a qcow2 image that is not in use',
      args: [IMAGE],
      options: { repair: { type: 'boolean', short: 'r', summary: 'mend what can be mended' } },
    },
    async ({ args: [image = ''], options, io }) => {
      const result = checkDisk(resolve(io.cwd, image), { repair: options.repair });
      await io.data(result);
      return result.corruptions > 0 && !result.repaired ? 1 : 0;
    },
  );
}

function formatOf(path: string, given: DiskFormat | string | undefined): DiskFormat {
  return FORMATS.find((format) => format === given) ?? (/\.qcow2?$/.test(path) ? 'qcow2' : 'raw');
}

/** The backing images as a list of paths, for a table. */
function flat({ backing, ...info }: DiskInfo): Readonly<Record<string, unknown>> {
  const below: string[] = [];
  for (let at = backing; at !== undefined; at = at.backing) below.push(at.path);
  return { ...info, ...(below.length === 0 ? {} : { backing: below.join(' ← ') }) };
}
