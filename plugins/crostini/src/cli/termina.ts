// `runtime termina …`: the images that VMs start with.

import type { CommandRegistry } from '@runtime/sdk';
import type { ImageProfile } from '../contract.ts';
import type { ImageRecord } from '../image/termina-store.ts';

const PROFILE = {
  type: 'string',
  choices: ['full', 'fast'],
  summary: 'full: with what containers need (default); fast: only what runs commands',
} as const;
const IMAGE = { name: 'image', summary: 'its id, or the beginning of it', required: true } as const;

// What makes images is loaded when it is asked for, as most commands never do.
const store = () => import('../image/termina-store.ts');

/** @param verity whether VMs that are started now check their image */
export function addTermina(commands: CommandRegistry, verity: () => Promise<boolean>): void {
  commands.add(
    {
      name: 'termina build',
      summary: 'make the image that VMs start with',
      description: 'Starting a VM does so too, when there is none. What is there already is not made again.',
      options: {
        profile: PROFILE,
        refresh: { type: 'boolean', summary: 'look for newer packages now, which needs the network' },
      },
    },
    async ({ options, io }) => {
      const profile = profileOf(options.profile);
      const { ensureTermina } = await import('../image/termina-image.ts');
      let told: Promise<void> = Promise.resolve();
      const { id } = await ensureTermina({
        profile,
        refresh: options.refresh,
        onProgress: ({ what, done, total }) => {
          const fraction = done === undefined || total === undefined ? undefined : done / total;
          told = told.then(() => io.progress(what, fraction));
        },
      });
      await told;
      const { findImage } = await store();
      await io.data(await shown(findImage(id)));
    },
  );

  commands.add({ name: 'termina list', summary: 'list the images, newest first' }, async ({ io }) => {
    const { listImages } = await store();
    const checked = (await verity()) ? 'when a VM reads them' : 'by runtime termina verify';
    const rows: unknown[] = [];
    for (const record of listImages()) {
      const { id, profile, kernel, size, made, used } = await shown(record);
      rows.push({ id, profile, kernel, size, made, used, checked });
    }
    await io.data(rows);
  });

  commands.add(
    {
      name: 'termina use',
      summary: 'choose the image that VMs start with from now on',
      description: 'Without an image: the newest again. VMs that run keep theirs.',
      args: [{ ...IMAGE, required: false }],
      options: { profile: { ...PROFILE, summary: 'of which the newest is to be used again; default: of both' } },
    },
    async ({ args: [image], options, io }) => {
      const { chooseImage, chooseNewest, findImage } = await store();
      if (image !== undefined) {
        const record = findImage(image);
        chooseImage(record);
        return io.err(`VMs of profile ${record.profile} start with image ${record.id}.`);
      }
      const profiles: readonly ImageProfile[] =
        options.profile === undefined ? ['full', 'fast'] : [profileOf(options.profile)];
      for (const profile of profiles) chooseNewest(profile);
      await io.err(`VMs of profile ${profiles.join(' and ')} start with the newest image.`);
    },
  );

  commands.add(
    {
      name: 'termina verify',
      summary: 'compare every block of an image with its hash',
      args: [{ ...IMAGE, required: false, summary: `${IMAGE.summary}; default: each` }],
    },
    async ({ args: [image], io }) => {
      const { findImage, listImages, verifyImage } = await store();
      let worst: unknown;
      for (const record of image === undefined ? listImages() : [findImage(image)]) {
        await io.progress(`reading image ${record.id}`);
        try {
          await verifyImage(record);
          await io.out(`image ${record.id}: every block has its hash`);
        } catch (e) {
          if (worst !== undefined) await io.err((worst as Error).message);
          worst = e;
        }
      }
      if (worst !== undefined) throw worst;
    },
  );

  commands.add(
    { name: 'termina remove', summary: 'remove an image', args: [IMAGE] },
    async ({ args: [image = ''] }) => {
      const { findImage, removeImage } = await store();
      removeImage(findImage(image));
    },
  );
}

const profileOf = (option: string | undefined): ImageProfile => (option === 'fast' ? 'fast' : 'full');

interface Shown {
  readonly id: string;
  readonly profile: ImageProfile;
  readonly kernel: string;
  /** In bytes. */
  readonly size: number;
  readonly made: string;
  /** Whether it was chosen by `use`. */
  readonly used: boolean;
  readonly rootfs: string;
  readonly rootHash: string;
}

async function shown(record: ImageRecord): Promise<Shown> {
  const { chosenImage, sizeOfImage } = await store();
  const { id, profile, release, madeAt, rootfs, rootHash } = record;
  const size = sizeOfImage(record);
  const used = chosenImage(profile)?.id === id;
  return { id, profile, kernel: release, size, made: new Date(madeAt).toISOString(), used, rootfs, rootHash };
}
