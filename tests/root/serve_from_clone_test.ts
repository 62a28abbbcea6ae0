// The daemon and its client as they run from a clone, under the Deno that runs this test, with a /run of
// their own.
import { assertEquals } from "@std/assert";
import { fromFileUrl } from "@std/path";
import { DEFAULT_SOCKET } from "../../lib/cli/serve.ts";
import { inTempDir } from "../temp_dir.ts";
import { need } from "./need.ts";

const ROOT = fromFileUrl(new URL("../..", import.meta.url));

/** The arguments are its own folder and the options of both. */
const SCRIPT = `
mount -t tmpfs none /run
dir=$1
shift
"${ROOT}denow" run -q --no-prompt -P=podwire "${ROOT}cli.ts" serve "$@" 2>"$dir/log" &
until [ -S ${DEFAULT_SOCKET} ]; do
  kill -0 $! || { cat "$dir/log"; exit 1; }
  sleep 0.1
done
"${ROOT}denow" run -q --no-prompt -P=podwire "${ROOT}cli.ts" run web --socket ${DEFAULT_SOCKET} 2>"$dir/said"
echo "client: $?"
kill -TERM $!
wait $!
echo "daemon: $?"
`;

Deno.test({
  name: "serve and its client run from a clone with the permissions of the repository",
  ...need("root"),
  fn: () =>
    inTempDir(async (dir) => {
      await Deno.mkdir(`${dir}/conf`);
      const options = [
        "--conf-dir",
        `${dir}/conf`,
        "--state-dir",
        `${dir}/state`,
        "--cache-dir",
        `${dir}/cache`,
      ];
      const { stdout, stderr } = await new Deno.Command("unshare", {
        // Nothing is attached: the daemon answers that there is no network.
        args: ["--mount", "sh", "-c", SCRIPT, "sh", dir, ...options, "--no-embedded"],
        env: { DENOW_VERSION: Deno.version.deno },
      }).output();
      const said = new TextDecoder().decode(stdout);
      assertEquals(said, "client: 6\ndaemon: 0\n", new TextDecoder().decode(stderr));
    }),
});
