// The optimizer.
#include "check.h"

void check_sgd_step(void) {
    for (long count = 1; count < 70; count++)
        for (int nesterov = 0; nesterov < 2; nesterov++) {
            float *weights = random_floats(count), *gradients = random_floats(count), *momenta = random_floats(count);
            float *w = copy(weights, count), *m = copy(momenta, count);
            ck_kernels()->sgd_step(weights, gradients, momenta, count, 0.1f, 0.25f, 0.9f, 0.01f, nesterov);
            for (long i = 0; i < count; i++) {
                double d = gradients[i] * 0.25 + (double)0.01f * w[i], momentum = (double)0.9f * m[i] + d;
                expect_near(momenta[i], momentum, 2, FLOAT);
                expect_near(weights[i], w[i] - (double)0.1f * (nesterov ? d + (double)0.9f * momentum : momentum), 2,
                            FLOAT);
            }
        }
}

void check_move_average(void) {
    for (long count = 1; count < 70; count++) {
        float *average = random_floats(count), *values = random_floats(count), *before = copy(average, count);
        ck_kernels()->move_average(average, values, count, 0.1f);
        for (long i = 0; i < count; i++)
            expect_near(average[i], before[i] + (double)0.1f * ((double)values[i] - before[i]), 2, FLOAT);
    }
}
