// From a text or a value to a description that can be relied on.

import { explainIssues, issuesToText } from '@runtime/sdk';
import { parseDocument } from 'yaml';
import { errors } from '../errors.ts';
import { descriptionSchema, type VmDescription } from './schema.ts';

/** Bytes; a VM with every device it may have is described in a hundredth of it. */
export const MAX_DESCRIPTION = 256 * 1024;

/** @param where for messages: a file, or `the options`. @throws VMM_ERR_DESCRIPTION */
export function checkDescription(value: unknown, where: string): VmDescription {
  const { success, data, error } = descriptionSchema.safeParse(value);
  if (success) return data;
  throw refuse(where, issuesToText(explainIssues(descriptionSchema, error)));
}

/** YAML 1.2, of which JSON is a part. @throws VMM_ERR_DESCRIPTION */
export function parseDescription(text: string, where: string): VmDescription {
  if (Buffer.byteLength(text) > MAX_DESCRIPTION) throw refuse(where, `it has more than ${MAX_DESCRIPTION} bytes`);
  const document = parseDocument(text, { prettyErrors: true, strict: true });
  const [problem] = document.errors;
  if (problem !== undefined) throw refuse(where, problem.message.replace(/:?\n[\s\S]*$/, ''));
  let value: unknown;
  try {
    // Aliases that multiply what they stand for are refused by the library above this count.
    value = document.toJS({ maxAliasCount: 100 });
  } catch (e) {
    throw refuse(where, (e as Error).message);
  }
  return checkDescription(value ?? {}, where);
}

function refuse(where: string, why: string): Error {
  return errors.VMM_ERR_DESCRIPTION({ details: { where, why } });
}
