// docs/reference/events.md: every topic of every EventMap block.

import { bracketed, linkTo, outdent, readSources, type SourceFile, splitMember, splitOutside } from './source-text.ts';

interface Topic {
  readonly name: string;
  readonly doc: string;
  readonly payload: string;
  readonly source: SourceFile;
}

export function eventsPage(): string {
  const topics = readSources().flatMap(topicsOf);
  topics.sort((a, b) => (a.name < b.name ? -1 : 1));
  return [
    '# Events',
    '',
    'Facts that happened: `ctx.events.on(topic, (data, event) => …)`. A pattern such as `process:*` stands for all topics',
    'that begin so; `{ replay: true }` delivers those that are remembered first, and `once()` waits for one. `event.id` is',
    'what `runtime trace --why` takes. Plugins add topics by declaration merging on `EventMap`; types that are named here come',
    'from `@runtime/sdk`.',
    '',
    '`runtime trace --kind event` shows them as they happen, `runtime inspect events` who listens.',
    ...topics.flatMap(({ name, doc, payload, source }) => [
      '',
      `## ${name}`,
      '',
      doc,
      '',
      '```ts',
      payload,
      '```',
      '',
      `\`${source.package}\`, ${linkTo(source.path)}`,
    ]),
  ].join('\n');
}

/** Indented or at the start of a line, so that the example in a comment is none. */
const BLOCK = /^(?: {2})?(?:export )?interface EventMap \{/gm;

function topicsOf(source: SourceFile): Topic[] {
  return [...source.text.matchAll(BLOCK)].flatMap((match) => {
    const body = bracketed(source.text, match.index + match[0].length - 1);
    return splitOutside(body, ';').map((member): Topic => {
      const { doc, code } = splitMember(member);
      const [key, name] = /^'([^']+)':/.exec(code) ?? [];
      if (key === undefined || name === undefined) throw new Error(`${source.path}: "${code}" is no topic`);
      if (doc === undefined) throw new Error(`${source.path}: topic ${name} has no doc comment`);
      return { name, doc, payload: outdent(code.slice(key.length).trim()), source };
    });
  });
}
