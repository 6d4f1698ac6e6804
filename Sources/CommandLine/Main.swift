import DataParallel
import Kernels
import Training
import Glibc
@main struct Main {
    static func main() {
        exit(MPIEnvironment.run(report: { print($0.message) }) { world in
            let v = try GoldenVerification(path: CommandLine.arguments[1], communicator: world)
            for e in try v.run() where world.rank == 0 { print(e.name, e.relative) }
        })
    }
}
