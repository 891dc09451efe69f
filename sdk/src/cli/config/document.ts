// A YAML file as a value that remembers where each part of it stands.

import { type Document, isAlias, isMap, isSeq, LineCounter, type Node, parseDocument } from 'yaml';
import { errors } from '../../errors.ts';
import type { Path } from './layer.ts';

export interface ConfigDocument {
  readonly value: unknown;
  /** `line:column`, from 1. @param atKey of the key rather than of its value */
  locate(path: Path, atKey?: boolean): string;
}

/** @throws SDK_ERR_CONFIG with line and column */
export function parseConfigDocument(text: string, file: string): ConfigDocument {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    intAsBigInt: true,
    prettyErrors: false,
    uniqueKeys: true,
  });
  const position = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${line}:${col}`;
  };
  const [syntax] = document.errors;
  if (syntax !== undefined) {
    throw errors.SDK_ERR_CONFIG({ details: { where: `${file}:${position(syntax.pos[0])}`, why: syntax.message } });
  }
  let value: unknown;
  try {
    value = plain(document.toJS({ maxAliasCount: 100 }) ?? {});
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw errors.SDK_ERR_CONFIG({ cause, details: { where: `${file}:1:1`, why } });
  }
  return { value, locate: (path, atKey = false) => position(offsetOf(document, path, atKey)) };
}

/** Whole numbers are read as bigint, so that none loses digits; those that fit become numbers. */
function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

/** Of the innermost part of `path` that exists. */
function offsetOf(document: Document.Parsed, path: Path, atKey: boolean): number {
  let node: Node | null | undefined = document.contents;
  let offset = node?.range?.[0] ?? 0;
  for (const [depth, part] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    let next: Node | null | undefined;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => String(key) === String(part));
      const key = pair?.key as Node | null | undefined;
      next = pair?.value as Node | null | undefined;
      if (key?.range && ((atKey && depth === path.length - 1) || !next?.range)) return key.range[0];
    } else if (isSeq(node)) {
      next = node.items[Number(part)] as Node | null | undefined;
    }
    if (!next?.range) return offset;
    node = next;
    offset = next.range[0];
  }
  return offset;
}
