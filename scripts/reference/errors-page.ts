// docs/reference/errors.md: every code with what it means, what to do, and what it is elsewhere.

import { type ErrorSpec, type ErrorTable, GrpcStatus, RuntimeError } from '@runtime/core';
import { linkTo, readSources, type SourceFile } from './source-text.ts';

const GRPC_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(GrpcStatus).map(([name, number]) => [number, name.replace(/[A-Z]/g, '_$&').toUpperCase()]),
);

interface Package {
  readonly source: SourceFile;
  readonly table: ErrorTable;
}

export async function errorsPage(): Promise<string> {
  const packages = await readTables();
  const links = packages.map(({ source, table }) => {
    const count = Object.keys(table).length;
    return `| \`${source.package}\` | ${count} | ${linkTo(source.path)} |`;
  });
  return [
    '# Errors',
    '',
    'Every error has a code that never changes and is never used again. `runtime … --format json` prints it as `code`; in a',
    'program test for it with `isRuntimeError(error, code)`, never with `instanceof`. `{words}` are filled in. Without',
    'another word the exit code is 1, and the same request sent again fails again.',
    '',
    '| package | codes | table |',
    '|---|---|---|',
    ...links,
    ...packages.flatMap(describePackage),
  ].join('\n');
}

async function readTables(): Promise<readonly Package[]> {
  const packages: Package[] = [];
  for (const source of readSources()) {
    const name = /^export const (\w*ErrorTable)\b/m.exec(source.text)?.[1];
    if (name === undefined) continue;
    const module = (await import(source.path)) as Readonly<Record<string, ErrorTable>>;
    packages.push({ source, table: module[name] ?? {} });
  }
  return packages;
}

function describePackage({ source, table }: Package): readonly string[] {
  const sections = new Map<string, string[]>();
  for (const [code, spec] of Object.entries<ErrorSpec>(table)) {
    const section = sectionOf(source.text, code);
    sections.set(section, [...(sections.get(section) ?? []), ...describe(code, spec)]);
  }
  return [...sections].flatMap(([section, lines]) => ['', `## ${section}`, ...lines]);
}

/** The comment line above the row that is nearest to it. */
function sectionOf(text: string, code: string): string {
  const before = text.slice(0, text.indexOf(`\n  ${code}: {`));
  const comments = [...before.matchAll(/^ {2}\/\/ (.+)$/gm)];
  const section = comments.at(-1)?.[1];
  if (section === undefined) throw new Error(`${code} stands under no section of its table`);
  return section;
}

function describe(code: string, spec: ErrorSpec): readonly string[] {
  // What callers get, defaults included.
  const { grpc, dbus, exit, retryable } = new RuntimeError(code, spec);
  const facts = [
    `gRPC ${GRPC_NAMES.get(grpc) ?? ''} (${grpc})`,
    `D-Bus \`${dbus}\``,
    ...(exit === 1 ? [] : [`exit code ${exit}`]),
    ...(retryable ? ['may be sent again'] : []),
  ];
  return ['', `### ${code}`, '', `\`${spec.message}\``, '', `→ ${spec.remedy}`, '', facts.join(' · ')];
}
