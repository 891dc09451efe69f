// Which pages of docs/reference are made from the code.

import { join } from 'node:path';
import { cliPage } from './cli-page.ts';
import { configPage } from './config-page.ts';
import { devicesPage } from './devices-page.ts';
import { errorsPage } from './errors-page.ts';
import { eventsPage } from './events-page.ts';
import { linuxPage } from './linux-page.ts';
import { readPlugins } from './plugin-parts.ts';
import { ROOT } from './source-text.ts';
import { templatePage } from './template-page.ts';
import { tokenPages } from './token-pages.ts';
import { vhostUserPage } from './vhost-user-page.ts';
import { vmPage } from './vm-page.ts';

export const REFERENCE: string = join(ROOT, 'docs/reference');

/** The first line of each, by which a page is known to be made. */
export const MADE = '<!-- Made from the code by npm run docs. -->';

/** File name → text. A kind of thing of which there is none yet has no page. */
export async function makePages(): Promise<ReadonlyMap<string, string>> {
  const plugins = await readPlugins();
  const pages: readonly (readonly [string, string | undefined])[] = [
    ['cli.md', cliPage(plugins)],
    ['config.md', configPage(plugins)],
    ['devices.md', devicesPage()],
    ['errors.md', await errorsPage()],
    ['events.md', eventsPage()],
    ['linux.md', linuxPage()],
    ['template.md', templatePage()],
    ...(await tokenPages()),
    ['vhost-user.md', vhostUserPage()],
    ['vm.md', vmPage()],
  ];
  const made = pages.filter((page): page is readonly [string, string] => page[1] !== undefined);
  return new Map(made.map(([name, text]) => [name, `${MADE}\n\n${text.trim()}\n`]));
}
