"""The literature that a methods section cites, each as it stands in the text and in the list of references."""

from __future__ import annotations

import re

SOURCES = {
    "Agarwal et al., 2021": "Agarwal, R., Schwarzer, M., Castro, P. S., Courville, A., Bellemare, M. G. (2021). Deep"
    " reinforcement learning at the edge of the statistical precipice. NeurIPS. arXiv:2108.13264.",
    "Akiba et al., 2019": "Akiba, T., Sano, S., Yanase, T., Ohta, T., Koyama, M. (2019). Optuna: A next-generation"
    " hyperparameter optimization framework. KDD. arXiv:1907.10902.",
    "Bergstra and Bengio, 2012": "Bergstra, J., Bengio, Y. (2012). Random search for hyper-parameter optimization."
    " Journal of Machine Learning Research 13, 281-305.",
    "Bergstra et al., 2011": "Bergstra, J., Bardenet, R., Bengio, Y., Kegl, B. (2011). Algorithms for hyper-parameter"
    " optimization. NeurIPS.",
    "Cawley and Talbot, 2010": "Cawley, G. C., Talbot, N. L. C. (2010). On over-fitting in model selection and"
    " subsequent selection bias in performance evaluation. Journal of Machine Learning Research 11, 2079-2107.",
    "Dunn, 1961": "Dunn, O. J. (1961). Multiple comparisons among means. Journal of the American Statistical"
    " Association 56, 52-64.",
    "Efron and Stein, 1981": "Efron, B., Stein, C. (1981). The jackknife estimate of variance. Annals of Statistics 9,"
    " 586-596.",
    "Golovin et al., 2017": "Golovin, D., Solnik, B., Moitra, S., Kochanski, G., Karro, J., Sculley, D. (2017). Google"
    " Vizier: A service for black-box optimization. KDD.",
    "Jamieson and Talwalkar, 2016": "Jamieson, K., Talwalkar, A. (2016). Non-stochastic best arm identification and"
    " hyperparameter optimization. AISTATS. arXiv:1502.07943.",
    "Nadeau and Bengio, 2003": "Nadeau, C., Bengio, Y. (2003). Inference for the generalization error. Machine"
    " Learning 52, 239-281.",
    "Pocock, 1977": "Pocock, S. J. (1977). Group sequential methods in the design and analysis of clinical trials."
    " Biometrika 64, 191-199.",
    "Satterthwaite, 1946": "Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance"
    " components. Biometrics Bulletin 2, 110-114.",
    "Schuirmann, 1987": "Schuirmann, D. J. (1987). A comparison of the two one-sided tests procedure and the power"
    " approach for assessing the equivalence of average bioavailability. Journal of Pharmacokinetics and"
    " Biopharmaceutics 15, 657-680.",
    "Snoek et al., 2012": "Snoek, J., Larochelle, H., Adams, R. P. (2012). Practical Bayesian optimization of machine"
    " learning algorithms. NeurIPS. arXiv:1206.2944.",
    "Sobol, 1967": "Sobol, I. M. (1967). On the distribution of points in a cube and the approximate evaluation of"
    " integrals. USSR Computational Mathematics and Mathematical Physics 7, 86-112.",
    "Watanabe et al., 2023": "Watanabe, S., Bansal, A., Hutter, F. (2023). PED-ANOVA: Efficiently quantifying"
    " hyperparameter importance in arbitrary subspaces. IJCAI. arXiv:2304.10255.",
    "Wortsman et al., 2023": "Wortsman, M., Liu, P. J., Xiao, L., Everett, K., Alemi, A., and others (2023)."
    " Small-scale proxies for large-scale transformer training instabilities. arXiv:2309.14322.",
}

_CITED = re.compile("|".join(re.escape(name) for name in SOURCES))


def references(text: str) -> tuple[str, ...]:
    """The references of all that `text` cites, in the order of the alphabet."""
    return tuple(SOURCES[name] for name in sorted(set(_CITED.findall(text))))
