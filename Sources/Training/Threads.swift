import DataParallel
import Glibc
import Kernels

extension Communicator {
    /// Threads for this rank where the user names no number: the cores that it may run on, shared with the other ranks
    /// of its host. launch.sh, which knows the cores of all ranks, says it in a variable.
    package var defaultThreads: Int {
        if let variable = getenv("DENSENET_THREADS"), let threads = Int(String(cString: variable)), threads > 0 {
            return threads
        }
        let allowed = WorkerPool.allowedCores
        // Ranks bound to cores of their own have these; ranks that may run anywhere share what there is.
        let isBound = allowed * localSize <= sysconf(Int32(_SC_NPROCESSORS_ONLN))
        return max(isBound ? allowed : allowed / localSize, 1)
    }

    /// The images of a rank's part of a global batch, where it is largest (`Sampler.localRange` has the parts).
    ///
    /// - Parameter unit: images that stay together.
    package func maximumLocalBatchSize(of globalBatch: Int, unit: Int = 1) -> Int {
        min(((globalBatch - 1) / unit / size + 1) * unit, globalBatch)
    }
}
