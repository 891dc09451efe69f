// A server for the guest which gives back what it gets, on any number of vsock connections at once: one process, since
// a guest without KVM takes a tenth of a second to start another. In Perl, which every Debian has.

const SERVER = `
use strict; use Fcntl; use Errno qw(EAGAIN);
my $port = shift;
socket(my $listener, 40, 1, 0) or die "socket: $!";
# struct sockaddr_vm { u16 family, reserved; u32 port, cid; u8 flags, zero[3]; }, to any CID
bind($listener, pack('S S L L x4', 40, 0, $port, 0xffffffff)) or die "bind: $!";
listen($listener, 4096) or die "listen: $!";
my (%socket, %held, %ended);
my ($reads, $writes) = ('', '');
vec($reads, fileno($listener), 1) = 1;
while (1) {
  select(my $r = $reads, my $w = $writes, undef, undef) >= 0 or die "select: $!";
  if (vec($r, fileno($listener), 1) && accept(my $new, $listener)) {
    fcntl($new, F_SETFL, fcntl($new, F_GETFL, 0) | O_NONBLOCK);
    $socket{fileno($new)} = $new; $held{fileno($new)} = '';
    vec($reads, fileno($new), 1) = 1;
  }
  for my $fd (keys %socket) {
    if (vec($r, $fd, 1)) {
      my $n = sysread($socket{$fd}, $held{$fd}, 65536, length $held{$fd});
      $ended{$fd} = 1 if defined $n ? $n == 0 : $! != EAGAIN;
    } elsif (!vec($w, $fd, 1)) { next; }
    if (length $held{$fd}) {
      my $n = syswrite($socket{$fd}, $held{$fd});
      if (defined $n) { substr($held{$fd}, 0, $n) = ''; }
      elsif ($! != EAGAIN) { $held{$fd} = ''; $ended{$fd} = 1; }
    }
    my $left = length $held{$fd};
    vec($writes, $fd, 1) = $left ? 1 : 0;
    vec($reads, $fd, 1) = $left < 262144 && !$ended{$fd} ? 1 : 0;
    if ($ended{$fd} && !$left) { close $socket{$fd}; delete $socket{$fd}; delete $held{$fd}; delete $ended{$fd}; }
  }
}
`;

/** A script that runs it for good. */
export function echoServer(port: number): string {
  return `ulimit -n 8192; cat > /tmp/echo.pl <<'PERL'\n${SERVER}\nPERL\nexec perl /tmp/echo.pl ${port}`;
}
