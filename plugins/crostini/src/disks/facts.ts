// What is known of a disk beside its bytes. concierge keeps it in extended attributes, of which Node knows nothing and
// which not every file system has; here it is a small file beside the image.

import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { replaceFile } from './files.ts';

const factsSchema = z.strictObject({
  /** `user.crostini.vm_type` */
  type: z.enum(['termina', 'baguette']).optional(),
  /** `user.crostini.user_chosen_size` */
  userChosenSize: z.boolean(),
  /** Bytes that the file system of the guest uses, from a resize of it until the next start of the VM. */
  filesystemBytes: z.number().int().positive().optional(),
});

export type DiskFacts = z.infer<typeof factsSchema>;

const UNKNOWN: DiskFacts = { userChosenSize: false };

/** A file that is not there or is damaged says nothing: the disk is worth more than what is known of it. */
export function readFacts(path: string): DiskFacts {
  try {
    return factsSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return UNKNOWN;
  }
}

export function writeFacts(path: string, facts: DiskFacts): void {
  replaceFile(path, `${path}.new`, `${JSON.stringify(facts)}\n`);
}
