// Which pages of docs/reference are made from the code.

import { join } from 'node:path';
import { cliPage } from './cli-page.ts';
import { configPage } from './config-page.ts';
import { errorsPage } from './errors-page.ts';
import { eventsPage } from './events-page.ts';
import { ROOT } from './source-text.ts';
import { tokenPages } from './token-pages.ts';

export const REFERENCE: string = join(ROOT, 'docs/reference');

/** The first line of each, by which a page is known to be made. */
export const MADE = '<!-- Made from the code by npm run docs. -->';

/** File name → text. A kind of thing of which there is none yet has no page. */
export async function makePages(): Promise<ReadonlyMap<string, string>> {
  const pages: readonly (readonly [string, string | undefined])[] = [
    ['cli.md', cliPage()],
    ['config.md', configPage()],
    ['errors.md', await errorsPage()],
    ['events.md', eventsPage()],
    ...(await tokenPages()),
  ];
  const made = pages.filter((page): page is readonly [string, string] => page[1] !== undefined);
  return new Map(made.map(([name, text]) => [name, `${MADE}\n\n${text.trim()}\n`]));
}
