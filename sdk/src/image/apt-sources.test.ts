import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { debianMirrors, parseDeb822, parseOneLine, readAptSources } from './apt-sources.ts';

const DEB822 = `# written by an installer
Types: deb deb-src
URIs: http://one.example/debian
# a comment between fields
Suites: bookworm bookworm-updates
Components: main non-free-firmware
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs:
 http://two.example/debian-security
 http://three.example/debian-security
suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
nonsense
: x
`;

test('sources in deb822: comments, continued fields, fields in any case, and those that are off', () => {
  expect(parseDeb822(DEB822)).toEqual([
    {
      uris: ['http://one.example/debian'],
      suites: ['bookworm', 'bookworm-updates'],
      components: ['main', 'non-free-firmware'],
      signedBy: '/usr/share/keyrings/debian-archive-keyring.gpg',
    },
    {
      uris: ['http://two.example/debian-security', 'http://three.example/debian-security'],
      suites: ['bookworm-security'],
      components: ['main'],
      signedBy: '-----BEGIN PGP PUBLIC KEY BLOCK-----\n.\nabc\n-----END PGP PUBLIC KEY BLOCK-----',
    },
  ]);
});

test('sources in one line: options, comments, and lines that are none', () => {
  const text = `
# deb http://old.example/debian bookworm main
deb http://one.example/debian trixie main contrib # the usual
deb-src http://one.example/debian trixie main
  deb [ arch=amd64 signed-by=/etc/key.gpg ] https://two.example/x stable main
deb http://flat.example/ ./
deb broken
`;
  expect(parseOneLine(text)).toEqual([
    { uris: ['http://one.example/debian'], suites: ['trixie'], components: ['main', 'contrib'], signedBy: undefined },
    { uris: ['https://two.example/x'], suites: ['stable'], components: ['main'], signedBy: '/etc/key.gpg' },
    { uris: ['http://flat.example/'], suites: ['./'], components: [], signedBy: undefined },
  ]);
});

test('mirrors are those of Debian: not of vendors who use its code names, not of other systems, not discs', () => {
  const key = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const sources = [
    ...parseOneLine(`deb http://plain.example/debian trixie main
deb http://plain.example/debian-security trixie-security main
deb http://plain.example/old bullseye/updates main
deb [signed-by=/etc/vendor.gpg] http://vendor.example/debian bookworm main
deb http://vendor.example/linux/debian bookworm stable
deb http://other.example/ubuntu noble main
deb cdrom:[Debian]/ trixie main
deb http://node.example/ nodistro main`),
    ...parseOneLine(`deb [signed-by=${key}] mirror+file:///etc/apt/mirrors.list bookworm main`),
  ];
  expect(debianMirrors(sources)).toEqual({
    archive: ['mirror+file:///etc/apt/mirrors.list', 'http://plain.example/debian'],
    security: ['http://plain.example/debian-security', 'http://plain.example/old'],
  });
});

test('without a mirror the error says why', () => {
  expect(() => debianMirrors([])).toThrow('apt has no sources');
  expect(() => debianMirrors(parseOneLine('deb http://other.example/ubuntu noble main'))).toThrow(
    /none of the sources/,
  );
});

test('all files of apt are read, and a folder without any is no error', () => {
  const folder = mkdtempSync(join(tmpdir(), 'runtime-apt-'));
  try {
    expect(readAptSources(folder)).toEqual([]);
    mkdirSync(join(folder, 'sources.list.d'));
    writeFileSync(join(folder, 'sources.list'), 'deb http://a.example/debian trixie main\n');
    writeFileSync(join(folder, 'sources.list.d/b.list'), 'deb http://b.example/debian trixie main\n');
    writeFileSync(
      join(folder, 'sources.list.d/c.sources'),
      'Types: deb\nURIs: http://c.example/debian\nSuites: trixie\n',
    );
    writeFileSync(
      join(folder, 'sources.list.d/d.sources.bak'),
      'Types: deb\nURIs: http://d.example/\nSuites: trixie\n',
    );
    expect(readAptSources(folder).flatMap(({ uris }) => uris)).toEqual([
      'http://a.example/debian',
      'http://b.example/debian',
      'http://c.example/debian',
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
