// A YAML file as a value that knows where each part of it stands. Only what a template needs: no anchors, no tags.

import { isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';

/** Keys and indices from the root. */
export type Path = readonly (string | number)[];

export interface TemplateDocument {
  readonly value: unknown;
  /** `line:column`, from 1, of the innermost part of `path` that there is. @param atKey of the key, not of its value */
  locate(path: Path, atKey?: boolean): string;
}

/** What is wrong with the YAML itself. */
export class DocumentFault extends Error {
  override readonly name: string = 'DocumentFault';
  /** `line:column` */
  readonly where: string;

  constructor(where: string, why: string) {
    super(why);
    this.where = where;
  }
}

/** @throws DocumentFault */
export function readDocument(text: string): TemplateDocument {
  const lines = new LineCounter();
  const position = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${Math.max(1, line)}:${Math.max(1, col)}`;
  };
  const fault = (offset: number, why: string): Error => new DocumentFault(position(offset), why);
  const options = { lineCounter: lines, prettyErrors: false, strict: true, uniqueKeys: true } as const;
  const document = orFault(() => parseDocument(text, options));
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) throw fault(problem.pos[0], problem.message);
  visit(document, {
    Alias: (_, { range }) => {
      throw fault(range?.[0] ?? 0, 'aliases are not allowed: write it out');
    },
    Node: (_, node) => {
      const offset = node.range?.[0] ?? 0;
      if ('anchor' in node && node.anchor !== undefined) throw fault(offset, 'anchors are not allowed: write it out');
    },
    Pair: (_, { key }) => {
      if (isScalar(key) && typeof key.value === 'string') return;
      throw fault((isNode(key) ? key.range?.[0] : undefined) ?? 0, 'a key has to be a word');
    },
  });
  const root = document.contents;
  return {
    value: orFault(() => document.toJS({ maxAliasCount: 0 })) ?? {},
    locate: (path, atKey = false) => position(offsetOf(root, path, atKey)),
  };
}

/** Nested too deeply, and the like. */
function orFault<T>(read: () => T): T {
  try {
    return read();
  } catch (e) {
    throw new DocumentFault('1:1', `it cannot be read: ${e instanceof Error ? e.message : String(e)}`);
  }
}

function offsetOf(root: Node | null, path: Path, atKey: boolean): number {
  let node: unknown = root;
  let offset = root?.range?.[0] ?? 0;
  for (const [depth, part] of path.entries()) {
    let next: unknown;
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && key.value === String(part));
      const keyOffset = isNode(pair?.key) ? pair.key.range?.[0] : undefined;
      if (keyOffset !== undefined) offset = keyOffset;
      if (atKey && depth === path.length - 1) return offset;
      next = pair?.value;
    } else if (isSeq(node)) {
      next = node.items[Number(part)];
    }
    if (!isNode(next) || !next.range) return offset;
    node = next;
    offset = next.range[0];
  }
  return offset;
}
