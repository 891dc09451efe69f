// Random operations on one file, compared with a copy in memory after each: what fsx of xfstests does. For the guest, in
// Perl, which every Debian has.

const FSX = `
use strict; use Fcntl qw(:DEFAULT :seek);
my ($path, $seed, $count, $max) = @ARGV;
srand($seed);
sysopen(my $file, $path, O_RDWR | O_CREAT | O_TRUNC) or die "open: $!";
my $model = '';
sub same { my ($what, $at, $got, $wanted) = @_; die "operation $_[4] ($what at $at): contents differ\\n" if $got ne $wanted; }
for my $n (1 .. $count) {
  my $op = int rand 100;
  if ($op < 45) {
    my $at = int rand $max; my $length = 1 + int rand 65536; $length = $max - $at if $at + $length > $max;
    my $bytes = pack('L*', map { int rand 4294967295 } 1 .. $length / 4 + 1); $bytes = substr($bytes, 0, $length);
    $model .= "\\0" x ($at - length $model) if $at > length $model;
    substr($model, $at, $length) = $bytes;
    sysseek($file, $at, SEEK_SET); my $done = 0;
    while ($done < $length) { my $w = syswrite($file, $bytes, $length - $done, $done) or die "write: $!"; $done += $w; }
  } elsif ($op < 80) {
    next unless length $model;
    my $at = int rand length $model; my $length = 1 + int rand 65536; $length = length($model) - $at if $at + $length > length $model;
    sysseek($file, $at, SEEK_SET); my $got = ''; while (length $got < $length) { sysread($file, $got, $length - length $got, length $got) or last; }
    same('read', $at, $got, substr($model, $at, $length), $n);
  } elsif ($op < 88) {
    my $size = int rand $max; truncate($file, $size) or die "truncate: $!";
    $model = $size > length $model ? $model . "\\0" x ($size - length $model) : substr($model, 0, $size);
  } elsif ($op < 96) {
    $file->sync if $file->can('sync');
    close $file; sysopen($file, $path, O_RDWR) or die "open: $!";
  } else {
    system('sync'); open(my $drop, '>', '/proc/sys/vm/drop_caches'); print $drop "3"; close $drop;
  }
}
sysseek($file, 0, SEEK_SET); my $all = ''; 1 while sysread($file, $all, 1048576, length $all);
same('all', 0, $all, $model, 'last');
print "same";
`;

/** @param size most bytes of the file */
export function fsx(path: string, options: { seed: number; operations: number; size: number }): string {
  const { seed, operations, size } = options;
  return `cat > /tmp/fsx.pl <<'PERL'\n${FSX}\nPERL\nperl /tmp/fsx.pl ${path} ${seed} ${operations} ${size}`;
}
