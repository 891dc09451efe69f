// The page that other clients are written from says what the code does.

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { HANDLERS } from './methods.ts';
import { CONTROL_LIMITS, INPUT_WINDOW, ITEM_WINDOW, PROTOCOL_VERSION, parseClientMessage } from './protocol.ts';
import { ITEMS, PARAMS, RESULTS } from './schemas.ts';

const page = readFileSync(new URL('../../../docs/reference/protocol.md', import.meta.url), 'utf8');

it('lists the methods, no more and no fewer', () => {
  const methods = page.slice(page.indexOf('## Methods'));
  const listed = Array.from(methods.matchAll(/^\| `([a-z.]+)` \|/gm), ([, name]) => name);
  expect(listed.sort()).toEqual(Object.keys(HANDLERS).sort());
  for (const table of [PARAMS, RESULTS, ITEMS]) expect(Object.keys(table).sort()).toEqual(listed);
});

it('gives the limits', () => {
  const limits = page.slice(page.indexOf('## Limits'), page.indexOf('## Methods'));
  expect(limits).toContain(`| connections | ${CONTROL_LIMITS.connections} |`);
  expect(limits).toContain(`| requests of a connection at a time | ${CONTROL_LIMITS.requests} |`);
  expect(limits).toContain(`averaged | ${CONTROL_LIMITS.messagesPerSecond.toLocaleString('en')} |`);
  expect(limits).toContain(`towards the client | ${CONTROL_LIMITS.bufferedBytes / 2 ** 20} MiB |`);
  expect(limits).toContain(`frame to arrive | ${CONTROL_LIMITS.frameMs / 1000} s |`);
  expect(limits).toContain(`request to end | ${CONTROL_LIMITS.cancelMs / 1000} s |`);
  expect(page).toContain(`at most ${CONTROL_LIMITS.frameBytes / 2 ** 20} MiB`);
  expect(page).toContain(
    `${ITEM_WINDOW / 2 ** 20} MiB of \`item\` frames, ${INPUT_WINDOW / 2 ** 10} KiB of \`input\` frames`,
  );
});

it('shows requests that the runtime takes', () => {
  const examples = Array.from(page.matchAll(/^→ (\{.*\})$/gm), ([, text]) => JSON.parse(text as string) as object);
  expect(examples.length).toBeGreaterThan(2);
  for (const example of examples) {
    expect(example).toMatchObject({ v: PROTOCOL_VERSION });
    expect(parseClientMessage(example as never)).toMatchObject({ id: expect.any(Number) });
  }
});
