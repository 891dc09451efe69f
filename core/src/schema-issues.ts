// What a zod schema found wrong, in words for the person who wrote the file.

import type { z } from 'zod';
import { didYouMean } from './nearest.ts';
import type { Schema, SchemaIssue } from './plugin.ts';

export interface FoundIssue {
  /** Where: keys and indices from the root. For an unknown key, the key itself is the last. */
  readonly path: readonly (string | number)[];
  readonly message: string;
  /** The key is at fault, not its value. */
  readonly unknownKey: boolean;
}

/** More are not reported: a file this wrong is not mended line by line. */
const MAX_ISSUES = 50;

type Issue = z.core.$ZodIssue;

/** Every issue of `error`; unknown keys are named one by one, each with the nearest known one. */
export function explainIssues(schema: z.core.$ZodType, error: z.core.$ZodError): readonly FoundIssue[] {
  return error.issues.flatMap((issue) => explain(schema, issue, [])).slice(0, MAX_ISSUES);
}

/** The issues of any Standard Schema. Those of zod are explained as above, whichever copy of zod made the schema. */
export function explainStandardIssues(schema: Schema<unknown>, issues: readonly SchemaIssue[]): readonly FoundIssue[] {
  if (schema['~standard'].vendor === 'zod' && '_zod' in schema) {
    return (issues as unknown as readonly Issue[])
      .flatMap((issue) => explain(schema as unknown as z.core.$ZodType, issue, []))
      .slice(0, MAX_ISSUES);
  }
  return issues.slice(0, MAX_ISSUES).map(({ path = [], message }) => ({
    path: path.map((part) => toKey(typeof part === 'object' ? part.key : part)),
    message,
    unknownKey: false,
  }));
}

function toKey(key: PropertyKey): string | number {
  return typeof key === 'number' ? key : String(key);
}

/** `a.b[0]: message; …` for one line of text. */
export function issuesToText(issues: readonly FoundIssue[]): string {
  const line = ({ path, message, unknownKey }: FoundIssue): string => {
    const at = formatPath(unknownKey ? path.slice(0, -1) : path);
    return at === '' ? message : `${at}: ${message}`;
  };
  return issues.map(line).join('; ');
}

export function formatPath(path: readonly (string | number)[]): string {
  return path.map((key, i) => (typeof key === 'number' ? `[${key}]` : i === 0 ? key : `.${key}`)).join('');
}

function explain(schema: z.core.$ZodType, issue: Issue, prefix: readonly (string | number)[]): FoundIssue[] {
  const path = [...prefix, ...issue.path.map(toKey)];
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schema, path);
    return issue.keys.map((key) => ({
      path: [...path, key],
      message: `unknown key "${key}"${didYouMean(key, known)}`,
      unknownKey: true,
    }));
  }
  if (issue.code === 'invalid_union') {
    const branch = likeliest(issue.errors);
    if (branch !== undefined) return branch.flatMap((inner) => explain(schema, inner as Issue, path));
    const isMissing = issue.errors.every(([first]) => first !== undefined && MISSING.test(first.message));
    if (isMissing && issue.errors.length > 0) return [{ path, message: 'it is missing', unknownKey: false }];
  }
  return [{ path, message: plain(issue.message), unknownKey: false }];
}

/** The branch of a union that got furthest into the value is the one that was meant. */
function likeliest(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const depth = (branch: readonly Issue[]): number =>
    Math.max(...branch.map((i) => i.path.length + (i.code === 'unrecognized_keys' ? 1 : 0)));
  const deepest = branches.filter((b) => b.length > 0).toSorted((a, b) => depth(b) - depth(a))[0];
  return deepest !== undefined && depth(deepest) > 0 ? deepest : undefined;
}

const MISSING = / received undefined$/;

function plain(message: string): string {
  if (MISSING.test(message)) return 'it is missing';
  return message.replace(/^Invalid input: /, '').replace(/^Invalid input$/, 'not one of the forms it may have');
}

/** What is read of a schema's definition, whatever its type. */
interface Definition {
  readonly shape?: Readonly<Record<string, z.core.$ZodType>>;
  readonly valueType?: z.core.$ZodType;
  readonly element?: z.core.$ZodType;
  readonly options?: readonly z.core.$ZodType[];
  readonly innerType?: z.core.$ZodType;
  readonly in?: z.core.$ZodType;
}
function definition(schema: z.core.$ZodType): Definition {
  return schema._zod.def as unknown as Definition;
}

function knownKeys(schema: z.core.$ZodType, path: readonly (string | number)[]): readonly string[] {
  let open: z.core.$ZodType[] = [schema];
  for (const key of path) open = open.flatMap((s) => step(s, key));
  return open.flatMap(unwrap).flatMap((s) => Object.keys(definition(s).shape ?? {}));
}

function step(schema: z.core.$ZodType, key: string | number): z.core.$ZodType[] {
  return unwrap(schema).flatMap((s) => {
    const { shape, valueType, element } = definition(s);
    const next = shape?.[key] ?? valueType ?? element;
    return next === undefined ? [] : [next];
  });
}

/** The schema behind `optional`, `default`, `transform` and the like; all branches of a union. */
function unwrap(schema: z.core.$ZodType): z.core.$ZodType[] {
  const { options, innerType, in: input } = definition(schema);
  if (options !== undefined) return options.flatMap(unwrap);
  const inner = innerType ?? input;
  return inner === undefined ? [schema] : unwrap(inner);
}
