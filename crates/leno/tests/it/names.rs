//! Names that there are not.

use crate::client::python;
use crate::support::mesh;

#[test]
fn an_unknown_name_of_the_mesh_is_denied_at_once() {
    let client = r#"
import socket, struct, time
def ask(name, kind):
    labels = b"".join(bytes([len(l)]) + l for l in name.encode().split(b".")) + b"\0"
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(20); s.connect(("198.18.0.53", 53))
    s.send(struct.pack(">6H", 77, 0x100, 1, 0, 0, 0) + labels + struct.pack(">2H", kind, 1))
    reply = s.recv(4096); return reply[3] & 15, struct.unpack(">H", reply[6:8])[0]
begin = time.monotonic()
for kind in (1, 28):
    print(*ask("nowhere.default.svc.cluster.local", kind), *ask("reviews.default.svc.cluster.local", kind))
try: socket.getaddrinfo("nowhere.default.svc.cluster.local.", 80); print("resolved")
except socket.gaierror: print("no such name")
print("slow" if time.monotonic() - begin > 2 else "fast")
"#;
    let mesh = mesh().start();
    // Name error and no record, no error and one record: whichever server is asked.
    assert_eq!(
        python(&mesh, "client.py", client),
        "3 0 0 1\n3 0 0 1\nno such name\nfast\n"
    );
}
