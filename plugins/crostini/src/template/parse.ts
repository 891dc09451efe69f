// From a file to a template that can be relied on.

import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';
import { explainIssues, formatPath } from '@runtime/sdk';
import { errors } from '../errors.ts';
import { DocumentFault, type Path, readDocument, type TemplateDocument } from './document.ts';
import { parsePort, portText } from './ports.ts';
import { type Template, templateSchema } from './schema.ts';

/** Bytes; each script may have a quarter of it. */
export const MAX_TEMPLATE = 256 * 1024;

/** What people look for in a template, and why it is not there. */
const LACKING: Readonly<Record<string, string>> = {
  packages:
    'packages belong to a container, as in ChromeOS: the root file system of a VM can only be read (runtime container exec penguin -- sudo apt-get install …)',
  mounts: 'folders cannot be shared with VMs yet; runtime cp copies them',
};

interface Problem {
  readonly path: Path;
  readonly message: string;
  readonly atKey: boolean;
}

/** @throws CROSTINI_ERR_TEMPLATE, CROSTINI_ERR_TEMPLATE_MANY */
export function readTemplate(file: string): Template {
  let text: string;
  try {
    // A FIFO is not waited for.
    const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      const stats = fstatSync(fd);
      if (!stats.isFile()) throw refuse(file, 'it is no file');
      if (stats.size > MAX_TEMPLATE) throw refuse(file, `it has more than ${MAX_TEMPLATE} bytes`);
      text = readFileSync(fd, 'utf8');
    } finally {
      closeSync(fd);
    }
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code?.startsWith('CROSTINI_')) throw cause;
    throw code === 'ENOENT' ? refuse(file, 'there is no such file') : refuse(file, message, cause);
  }
  return parseTemplate(text, file);
}

/** YAML 1.2, of which JSON is a part. @param file for messages @throws CROSTINI_ERR_TEMPLATE, CROSTINI_ERR_TEMPLATE_MANY */
export function parseTemplate(text: string, file: string): Template {
  if (Buffer.byteLength(text) > MAX_TEMPLATE) throw refuse(file, `it has more than ${MAX_TEMPLATE} bytes`);
  let document: TemplateDocument;
  try {
    document = readDocument(text);
  } catch (e) {
    if (e instanceof DocumentFault) throw refuse(`${file}:${e.where}`, e.message);
    throw e;
  }
  const { rest, problems } = withoutLacking(document.value);
  const { success, data, error } = templateSchema.safeParse(rest);
  const found: Problem[] = success
    ? [...problems, ...twins(data)]
    : [
        ...problems,
        ...explainIssues(templateSchema, error).map(({ path, message, unknownKey }) => ({
          ...{ path, atKey: unknownKey },
          message: unknownKey || path.length === 0 ? message : `${formatPath(path)}: ${message}`,
        })),
      ];
  if (success && found.length === 0) return data;
  throw several(
    file,
    found.map(({ path, message, atKey }) => refuse(`${file}:${document.locate(path, atKey)}`, message)),
  );
}

function withoutLacking(value: unknown): { readonly rest: unknown; readonly problems: readonly Problem[] } {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return { rest: value, problems: [] };
  const isLacking = (key: string): boolean => Object.hasOwn(LACKING, key);
  const entries = Object.entries(value);
  return {
    rest: Object.fromEntries(entries.filter(([key]) => !isLacking(key))),
    problems: entries.flatMap(([key]) =>
      isLacking(key) ? [{ path: [key], atKey: true, message: `${key}: ${LACKING[key]}` }] : [],
    ),
  };
}

/** What may be there only once. */
function twins({ users = [], ports = [] }: Template): readonly Problem[] {
  const led = ports.map((port) => parsePort(port));
  return [
    ...repeated(
      users.map(({ name }) => name),
      (at) => ['users', at, 'name'],
    ),
    ...repeated(
      users.map(({ uid }) => String(uid)),
      (at) => ['users', at, 'uid'],
    ),
    ...repeated(
      led.map((port) => (port === undefined ? '' : portText(port))),
      (at) => ['ports', at],
    ),
  ];
}

function repeated(values: readonly string[], pathOf: (at: number) => Path): readonly Problem[] {
  return values.flatMap((value, at) => {
    const path = pathOf(at);
    const message = `${formatPath(path)}: ${value} is given twice`;
    return values.indexOf(value) === at ? [] : [{ path, message, atKey: false }];
  });
}

function refuse(where: string, why: string, cause?: unknown): Error {
  return errors.CROSTINI_ERR_TEMPLATE({ details: { where, why }, ...(cause === undefined ? {} : { cause }) });
}

function several(file: string, problems: readonly Error[]): Error {
  const [only] = problems;
  if (problems.length === 1 && only !== undefined) return only;
  // As one reads a file: from top to bottom.
  const inOrder = problems.toSorted((a, b) => a.message.localeCompare(b.message, 'en', { numeric: true }));
  const cause = new AggregateError(inOrder, 'mistakes in the template');
  return errors.CROSTINI_ERR_TEMPLATE_MANY({ cause, details: { file, count: problems.length } });
}
