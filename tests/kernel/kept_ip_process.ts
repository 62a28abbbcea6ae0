// Keeps an `ip`, and prints its process ID. Then it has nothing more to do, or is killed.
import { runCommand } from "../../lib/host/command.ts";
import { IpKernel } from "../../lib/kernel/ip_kernel.ts";
import { keepIp } from "../../lib/kernel/ip_use.ts";

const pids: number[] = [];
Deno.Command = new Proxy(Deno.Command, {
  construct(target, args, self) {
    const command: Deno.Command = Reflect.construct(target, args, self);
    const spawn = command.spawn.bind(command);
    command.spawn = () => {
      const child = spawn();
      pids.push(child.pid);
      return child;
    };
    return command;
  },
});

keepIp();
const kernel = new IpKernel(runCommand);
for (let call = 0; call < 3; call++) await kernel.apply([{ kind: "show-link", name: "lo" }]);
console.log(pids.join(" "));
if (Deno.args[0] === "kill") Deno.kill(Deno.pid, "SIGKILL");
