import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type AccountFiles, accountByUid, withUser } from './accounts.ts';
import { parseOsRelease } from './os-release.ts';

const DEBIAN: AccountFiles = {
  passwd: 'root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n',
  group: 'root:x:0:\naudio:x:29:pulse\nsudo:x:27:\nvideo:x:44:\n',
  shadow: 'root:*:19700:0:99999:7:::\n',
  gshadow: 'root:*::\nsudo:*::\n',
};

test('a new user has number 1000, a home, and the groups that there are', () => {
  const { files, account, isNew } = withUser(DEBIAN, 'ada', '/bin/bash');
  expect({ account, isNew }).toEqual({
    account: { name: 'ada', uid: 1000, gid: 1000, home: '/home/ada' },
    isNew: true,
  });
  expect(files.passwd).toContain('\nada:x:1000:1000::/home/ada:/bin/bash\n');
  expect(files.passwd).toContain('\nandroid-root:x:655360:655360::/:/usr/sbin/nologin\n');
  expect(files.group).toContain('audio:x:29:pulse,ada\n');
  expect(files.group).toContain('sudo:x:27:ada\n');
  expect(files.group).toContain('ada:x:1000:\n');
  expect(files.group).toContain('android-everybody:x:665357:ada\n');
  expect(files.group).not.toContain('plugdev');
  expect(files.shadow).toContain('ada:*:');
  expect(files.gshadow).toContain('sudo:*::ada\n');
});

test('whoever has number 1000 keeps the name', () => {
  const passwd = `${DEBIAN.passwd}grace:x:1000:100::/home/g:/bin/zsh\n`;
  const { files, account, isNew } = withUser({ ...DEBIAN, passwd }, 'ada', '/bin/bash');
  expect({ account, isNew }).toEqual({
    account: { name: 'grace', uid: 1000, gid: 100, home: '/home/g' },
    isNew: false,
  });
  expect(files.passwd).not.toContain('ada');
  expect(files.group).toContain('sudo:x:27:grace\n');
});

test('a name of somebody else is refused', () => {
  const passwd = `${DEBIAN.passwd}ada:x:33:33::/:/bin/sh\n`;
  expect(() => withUser({ ...DEBIAN, passwd }, 'ada', '/bin/sh')).toThrow(/another number/);
});

test('doing it twice changes nothing more, whatever lines there are', () => {
  const line = fc.stringMatching(/^[a-z:0-9,/]{0,30}$/);
  const table = fc.array(line, { maxLength: 20 }).map((lines) => lines.map((each) => `${each}\n`).join(''));
  fc.assert(
    fc.property(table, table, fc.option(table, { nil: undefined }), (passwd, group, gshadow) => {
      const files = { passwd, group, shadow: undefined, gshadow };
      const once = withUser(files, 'ada', '/bin/sh');
      expect(withUser(once.files, 'ada', '/bin/sh').files).toEqual(once.files);
      expect(accountByUid(once.files.passwd, 1000)).toMatchObject({ uid: 1000 });
      // Nothing of what was there is lost.
      expect(once.files.passwd.startsWith(passwd)).toBe(true);
    }),
  );
});

test('os-release is read as a shell reads it', () => {
  const text = 'PRETTY_NAME="Debian \\"13\\""\nNAME=\'Debian\'\nID=debian\n# VERSION=no\nVERSION_ID="13"\nX="y"\n';
  expect(parseOsRelease(text)).toEqual({
    ...{ pretty_name: 'Debian "13"', name: 'Debian', version: '', version_id: '13', id: 'debian' },
  });
});
